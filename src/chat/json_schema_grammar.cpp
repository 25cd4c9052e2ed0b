#include "chat/json_schema_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "chat/json_schema_check.h"
#include "chat/json_schema_formats.h"
#include "chat/pattern.h"

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;  // Properties are generated in the schema's order.

constexpr std::size_t kNotesMax = 50;
constexpr std::size_t kDumpedBytesMax = 64u << 20;  // Work of telling equal subschemas apart.
constexpr std::size_t kProductMax = 64;             // anyOf times anyOf.
constexpr int kScaleDigits = 6;                     // Decimals of a number's bounds.
constexpr double kBoundMax = 1e12;
constexpr const char* kNoType = "pensieve:none";  // Two types that exclude each other, merged.

// Words that say nothing about which values match.
constexpr std::string_view kAnnotations[] = {"title", "description", "default", "examples", "example", "$comment", "$schema", "$id", "$anchor", "id",
                                             "$defs", "definitions", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "$vocabulary", "discriminator", "xml", "externalDocs"};

bool is_annotation(std::string_view key) { return std::ranges::find(kAnnotations, key) != std::end(kAnnotations) || key.starts_with("x-"); }

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

// Braces of a repetition; nothing for "once".
std::string braces(int least, int most) {
  if (least == 1 && most == 1) return "";
  if (least == 0 && most == 1) return "?";
  if (most < 0) return least == 0 ? "*" : least == 1 ? "+" : fmt::format("{{{},}}", least);
  return least == most ? fmt::format("{{{}}}", least) : fmt::format("{{{},{}}}", least, most);
}

std::string character_in_class(char32_t c) {
  if ((c >= U'0' && c <= U'9') || (c >= U'A' && c <= U'Z') || (c >= U'a' && c <= U'z')) return std::string(1, static_cast<char>(c));
  if (c <= 0xFF) return fmt::format("\\x{:02X}", static_cast<unsigned>(c));
  if (c <= 0xFFFF) return fmt::format("\\u{:04X}", static_cast<unsigned>(c));
  return fmt::format("\\U{:08X}", static_cast<unsigned>(c));
}

std::string class_of(const CharacterSet& set) {
  std::string text = "[";
  for (const auto& [first, last] : set) {
    text += character_in_class(first);
    if (last != first) text += "-" + character_in_class(last);
  }
  return text + "]";
}

std::string digit_class(char first, char last) { return first == last ? fmt::format("\"{}\"", first) : fmt::format("[{}-{}]", first, last); }
std::string in_quotes(std::string_view digits) { return digits.empty() ? std::string() : fmt::format("\"{}\"", digits); }

// ---- ranges of numbers, as digits ----

// Numbers of one length from `low` to `high`, both of that length.
std::string digits_between(std::string_view low, std::string_view high) {
  std::size_t same = 0;
  while (same < low.size() && low[same] == high[same]) ++same;
  std::string head = in_quotes(low.substr(0, same));
  if (same == low.size()) return head;
  const std::size_t rest = low.size() - same - 1;
  const std::string_view low_rest = low.substr(same + 1);
  const std::string_view high_rest = high.substr(same + 1);
  const bool low_open = low_rest.find_first_not_of('0') == std::string_view::npos;
  const bool high_open = high_rest.find_first_not_of('9') == std::string_view::npos;
  char from = low[same];
  char to = high[same];
  std::vector<std::string> ways;
  if (!low_open) ways.push_back(in_quotes(std::string_view(&from, 1)) + " " + digits_between(low_rest, std::string(rest, '9'))), ++from;
  std::string last;
  if (!high_open) last = in_quotes(std::string_view(&to, 1)) + " " + digits_between(std::string(rest, '0'), high_rest), --to;
  if (from <= to) ways.push_back(digit_class(from, to) + (rest > 0 ? " [0-9]" + braces(static_cast<int>(rest), static_cast<int>(rest)) : ""));
  if (!last.empty()) ways.push_back(last);
  std::string body;
  for (const std::string& way : ways) body += (body.empty() ? "" : " | ") + way;
  if (ways.size() > 1 || !head.empty()) body = "(" + body + ")";
  return head.empty() ? body : head + " " + body;
}

// Whole numbers from `low` up to `high` (unset: no bound), none negative.
void whole_numbers(std::int64_t low, std::optional<std::int64_t> high, const std::string& before, std::vector<std::string>& ways) {
  if (high && low > *high) return;
  std::string from = std::to_string(low);
  while (true) {
    const std::string nines(from.size(), '9');
    const bool last = high && std::to_string(*high).size() == from.size();
    ways.push_back(before + digits_between(from, last ? std::to_string(*high) : nines));
    if (last) return;
    if (!high || from.size() >= 18) break;
    from = "1" + std::string(from.size(), '0');
  }
  ways.push_back(before + fmt::format("[1-9] [0-9]{{{},{}}}", from.size(), std::max<std::size_t>(from.size(), 15)));
}

constexpr const char* kMoreDigits = "[0-9]{0,12}";

// What may follow the first j digits of a fraction that are those of `bound`, so that the whole stays >= or <= it.
std::string fraction_least(const std::string& bound, std::size_t j) {
  if (bound.find_first_not_of('0', j) == std::string::npos) return j == 0 ? "[0-9]{1,12}" : kMoreDigits;
  std::string body = in_quotes(bound.substr(j, 1)) + " " + fraction_least(bound, j + 1);
  if (bound[j] < '9') body += " | " + digit_class(static_cast<char>(bound[j] + 1), '9') + " " + kMoreDigits;
  return "(" + body + ")";
}
std::string fraction_most(const std::string& bound, std::size_t j) {
  if (j == bound.size()) return "\"0\"{0,3}";
  std::string body = in_quotes(bound.substr(j, 1)) + " " + fraction_most(bound, j + 1);
  if (bound[j] > '0') body += " | " + digit_class('0', static_cast<char>(bound[j] - 1)) + " " + kMoreDigits;
  return "(" + body + ")" + (j == 0 ? "" : "?");
}
std::string fraction_between(const std::string& low, const std::string& high, std::size_t j) {
  if (j == low.size()) return "\"0\"{0,3}";
  if (low[j] == high[j]) {
    const bool may_end = j > 0 && low.find_first_not_of('0', j) == std::string::npos;
    const std::string body = in_quotes(low.substr(j, 1)) + " " + fraction_between(low, high, j + 1);
    return may_end ? "(" + body + ")?" : body;
  }
  std::string body = in_quotes(low.substr(j, 1)) + " " + fraction_least(low, j + 1) + " | " + in_quotes(high.substr(j, 1)) + " " + fraction_most(high, j + 1);
  if (low[j] + 1 < high[j]) body += " | " + digit_class(static_cast<char>(low[j] + 1), static_cast<char>(high[j] - 1)) + " " + kMoreDigits;
  const bool may_end = j > 0 && low.find_first_not_of('0', j) == std::string::npos;
  return "(" + body + ")" + (may_end ? "?" : "");
}

// Numbers from low to high in millionths, none negative, written with a point.
void decimal_numbers(std::int64_t low, std::optional<std::int64_t> high, const std::string& before, std::vector<std::string>& ways) {
  if (high && low > *high) return;
  constexpr std::int64_t kScale = 1000000;
  const auto fraction = [](std::int64_t value) { return fmt::format("{:0{}}", value % kScale, kScaleDigits); };
  const std::int64_t first = low / kScale;
  const std::string low_text = before + in_quotes(std::to_string(first)) + " \".\" ";
  if (high && *high / kScale == first) {
    ways.push_back(low_text + fraction_between(fraction(low), fraction(*high), 0));
    return;
  }
  ways.push_back(low_text + fraction_least(fraction(low), 0));
  std::vector<std::string> between;
  whole_numbers(first + 1, high ? std::optional(*high / kScale - 1) : std::nullopt, before, between);
  for (const std::string& way : between) ways.push_back(way + " \".\" [0-9]{1,12}");
  if (high) ways.push_back(before + in_quotes(std::to_string(*high / kScale)) + " \".\" " + fraction_most(fraction(*high), 0));
}

std::string either(const std::vector<std::string>& ways) {
  std::string body;
  for (const std::string& way : ways) body += (body.empty() ? "" : " | ") + way;
  return body;
}

struct Bounds {
  std::optional<double> low, high;
  bool low_open = false, high_open = false;  // The bound itself is out.
};

}  // namespace

struct GrammarBuilder::State {
  // ---- where a subschema stands ----
  struct Place {
    const Json* root;
    std::size_t root_number;
    std::string path;
    int depth = 0;
    // How many characters' worth of structure stand around it: a rule met again inside itself at the same
    // count would call itself without reading anything.
    int guards = 0;

    Place in(std::string_view step) const { return {root, root_number, fmt::format("{}.{}", path, step), depth + 1, guards}; }
    Place inside(std::string_view step) const { return {root, root_number, fmt::format("{}.{}", path, step), depth + 1, guards + 1}; }
  };
  struct Known {
    std::string name;
    int guards = 0;
    bool open = true;      // Still being made.
    bool nothing = false;  // No value matches it.
  };

  GrammarLimits limits;
  std::string rules;
  std::vector<std::string> notes;
  std::vector<std::unique_ptr<Json>> roots;
  std::map<std::string, Known> known;
  std::set<std::string> shared;
  std::set<std::string> own;  // Names of rules that were added from outside.
  std::size_t made = 0;
  std::size_t schemas_seen = 0;
  std::size_t dumped_bytes = 0;
  int repetitions = 0;

  void note(const Place& place, std::string_view what) {
    std::string line = fmt::format("{}: {}", place.path, what);
    if (notes.size() < kNotesMax && std::ranges::find(notes, line) == notes.end()) notes.push_back(std::move(line));
  }
  static Error wrong(const Place& place, std::string_view what) { return {ErrorCode::invalid_argument, fmt::format("{}: {}", place.path, what)}; }
  static Error too_much(const Place& place, std::string_view what) { return {ErrorCode::too_large, fmt::format("{}: {}", place.path, what)}; }

  void emit(std::string_view name, std::string_view body) { rules += fmt::format("{} ::= {}\n", name, body); }

  Result<void> room(const Place& place) const {
    if (rules.size() > limits.grammar_bytes_max) return too_much(place, fmt::format("the schema becomes a grammar of more than {} bytes", limits.grammar_bytes_max));
    return {};
  }

  // Rules that every schema shares, made when first named.
  std::string use(const std::string& name) {
    if (!shared.insert(name).second) return name;
    if (name == "j-ws") emit(name, R"(| " " | "\n" [ \t]{0,20})");
    // Escaped surrogates only in pairs: half of one is no Unicode text.
    if (name == "j-char") {
      emit(name, R"([^\x22\x5C\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" j-u16))");
      emit("j-u16", "[0-9abcefABCEF] j-hex{3} | [dD] [0-7] j-hex{2} | [dD] [89abAB] j-hex{2} \"\\\\u\" [dD] [c-fC-F] j-hex{2}");
      emit("j-hex", "[0-9a-fA-F]");
    }
    if (name == "j-string") emit(name, fmt::format(R"("\"" {}* "\"")", use("j-char")));
    if (name == "j-integer") emit(name, R"("-"? ("0" | [1-9] [0-9]{0,15}))");
    // Two digits of exponent stay inside a double.
    if (name == "j-number") emit(name, R"("-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?)");
    if (name == "j-boolean") emit(name, R"("true" | "false")");
    if (name == "j-null") emit(name, R"("null")");
    if (name == "j-value") emit(name, fmt::format("{} | {} | {} | {} | {} | {}", use("j-object"), use("j-array"), use("j-string"), use("j-number"), use("j-boolean"), use("j-null")));
    if (name == "j-object") {
      const std::string pair = fmt::format("{} \":\" {} {}", use("j-string"), use("j-ws"), use("j-value"));
      emit(name, fmt::format(R"("{{" {0} ({1} ("," {0} {1})* {0})? "}}")", use("j-ws"), pair));
    }
    if (name == "j-array") emit(name, fmt::format(R"("[" {0} ({1} ("," {0} {1})* {0})? "]")", use("j-ws"), use("j-value")));
    return name;
  }

  // ---- one subschema ----

  // The rule of a subschema; an empty name when nothing matches it.
  Result<std::string> rule_for(const Json& schema, const Place& place) {
    if (schema.is_boolean()) return schema.get<bool>() ? use("j-value") : std::string();
    if (!schema.is_object()) return wrong(place, "a schema is an object, true or false");
    if (place.depth > limits.depth_max) return too_much(place, fmt::format("nested more than {} deep", limits.depth_max));
    if (++schemas_seen > limits.schemas_max) return too_much(place, fmt::format("more than {} subschemas, written out", limits.schemas_max));
    if (Result<void> left = room(place); !left) return std::move(left).error();
    std::string key = fmt::format("{} {}", place.root_number, schema.dump(-1, ' ', false, Json::error_handler_t::replace));
    dumped_bytes += key.size();
    if (dumped_bytes > kDumpedBytesMax) return too_much(place, "the schema is too much work to read");
    if (const auto seen = known.find(key); seen != known.end()) {
      if (seen->second.open && seen->second.guards >= place.guards) return wrong(place, "the schema leads only to itself");
      return seen->second.nothing ? std::string() : seen->second.name;
    }
    const std::string name = fmt::format("j-{}", made++);
    known[key] = {name, place.guards};
    auto body = body_of(schema, place);
    if (!body) return body;
    Known& entry = known[key];
    entry.open = false;
    entry.nothing = body->empty();
    if (body->empty()) return std::string();
    emit(name, *body);
    return name;
  }

  Result<const Json*> target_of(const Json& ref, const Place& place) const {
    if (!ref.is_string()) return wrong(place, "$ref must be a string");
    const auto& text = ref.get_ref<const std::string&>();
    if (!text.starts_with('#')) return wrong(place, fmt::format("$ref '{}' leads outside of the schema", text));
    const Json* at = place.root;
    std::size_t from = 1;
    while (from < text.size()) {
      if (text[from] != '/') return wrong(place, fmt::format("$ref '{}' is no JSON pointer", text));
      const std::size_t end = std::min(text.find('/', from + 1), text.size());
      const std::string step = unescaped(text.substr(from + 1, end - from - 1));
      const Json* next = nullptr;
      if (at->is_object()) next = find(*at, step.c_str());
      if (at->is_array() && !step.empty() && step.size() < 7 && std::ranges::all_of(step, [](char c) { return c >= '0' && c <= '9'; })) {
        const auto index = static_cast<std::size_t>(std::stoul(step));
        if (index < at->size()) next = &(*at)[index];
      }
      if (next == nullptr) return wrong(place, fmt::format("$ref '{}' leads nowhere", text));
      at = next;
      from = end;
    }
    return at;
  }

  static std::string unescaped(const std::string& step) {
    std::string out;
    for (std::size_t i = 0; i < step.size(); ++i) {
      if (step[i] == '~' && i + 1 < step.size() && (step[i + 1] == '0' || step[i + 1] == '1')) {
        out.push_back(step[++i] == '0' ? '~' : '/');
      } else if (step[i] == '%' && i + 2 < step.size()) {
        const int value = std::stoi("0" + step.substr(i + 1, 2), nullptr, 16);
        out.push_back(static_cast<char>(value));
        i += 2;
      } else {
        out.push_back(step[i]);
      }
    }
    return out;
  }

  static Json without(const Json& schema, std::initializer_list<std::string_view> keys) {
    Json rest = Json::object();
    for (const auto& [key, value] : schema.items()) {
      if (!is_annotation(key) && std::ranges::find(keys, key) == keys.end()) rest[key] = value;
    }
    return rest;
  }

  Result<std::string> body_of(const Json& schema, const Place& place) {
    if (const Json* ref = find(schema, "$ref")) {
      const auto target = target_of(*ref, place);
      if (!target) return target.error();
      const Json rest = without(schema, {"$ref"});
      if (rest.empty()) return rule_for(**target, place.in("$ref"));
      const auto merged = merge(**target, rest, place);
      if (!merged) return merged.error();
      return rule_for(*merged, place.in("$ref"));
    }
    if (const Json* all = find(schema, "allOf")) {
      if (!all->is_array()) return wrong(place, "allOf must be an array");
      Json merged = without(schema, {"allOf"});
      for (const Json& part : *all) {
        auto next = merge(merged, part, place.in("allOf"));
        if (!next) return std::move(next).error();
        merged = *std::move(next);
      }
      return rule_for(merged, place.in("allOf"));
    }
    for (const char* word : {"anyOf", "oneOf"}) {
      const Json* some = find(schema, word);
      if (some == nullptr) continue;
      if (!some->is_array() || some->empty()) return wrong(place, fmt::format("{} must be a non-empty array", word));
      return alternatives(*some, without(schema, {word}), std::string_view(word) == "oneOf", place.in(word));
    }
    if (find(schema, "const") != nullptr || find(schema, "enum") != nullptr) return literals(schema, place);
    for (const char* word : {"not", "if", "dependentRequired", "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "contains", "propertyNames"}) {
      const Json* value = find(schema, word);
      if (value == nullptr || (std::string_view(word).starts_with("unevaluated") && value->is_boolean() && !value->get<bool>())) continue;
      note(place, fmt::format("{} is not enforced while generating", word));
    }
    return by_type(schema, place);
  }

  Result<std::string> alternatives(const Json& some, const Json& rest, bool exactly_one, const Place& place) {
    std::vector<std::string> ways;
    for (std::size_t i = 0; i < some.size(); ++i) {
      const auto merged = rest.empty() ? Result<Json>(some[i]) : merge(rest, some[i], place);
      if (!merged) return merged.error();
      const auto rule = rule_for(*merged, place.in(std::to_string(i)));
      if (!rule) return rule;
      if (!rule->empty() && std::ranges::find(ways, *rule) == ways.end()) ways.push_back(*rule);
    }
    if (exactly_one && ways.size() > 1) note(place, "that exactly one alternative matches is not enforced while generating");
    return either(ways);
  }

  Result<std::string> literals(const Json& schema, const Place& place) {
    Json values = Json::array();
    if (const Json* single = find(schema, "const")) values.push_back(*single);
    else values = schema.at("enum");
    if (!values.is_array()) return wrong(place, "enum must be an array");
    std::vector<std::string> ways;
    std::set<std::string> seen;
    for (const Json& value : values) {
      if (!schema_violations(*place.root, schema, value, 1).empty()) continue;
      std::string text = literal(value.dump(-1, ' ', false, Json::error_handler_t::replace));
      if (seen.insert(text).second) ways.push_back(std::move(text));
    }
    return either(ways);
  }

  Result<std::string> by_type(const Json& schema, const Place& place) {
    std::vector<std::string> types;
    if (const Json* type = find(schema, "type")) {
      for (const Json& one : type->is_array() ? *type : Json::array({*type})) {
        if (!one.is_string()) return wrong(place, "type must be a string or an array of strings");
        types.push_back(one.get<std::string>());
      }
    } else {
      types = meant_types(schema);
    }
    if (types.empty()) return use("j-value");
    // OpenAPI's way to say "or null".
    if (const Json* nullable = find(schema, "nullable"); nullable != nullptr && nullable->is_boolean() && nullable->get<bool>()) types.emplace_back("null");
    std::vector<std::string> ways;
    for (const std::string& type : types) {
      const auto body = of_type(type, schema, place);
      if (!body) return body;
      if (!body->empty() && std::ranges::find(ways, *body) == ways.end()) ways.push_back(*body);
    }
    return either(ways);
  }

  // A schema without a type that uses one type's words means that type.
  static std::vector<std::string> meant_types(const Json& schema) {
    const auto has = [&](std::initializer_list<const char*> words) { return std::ranges::any_of(words, [&](const char* word) { return schema.contains(word); }); };
    if (has({"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"})) return {"object"};
    if (has({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})) return {"array"};
    if (has({"pattern", "minLength", "maxLength", "format"})) return {"string"};
    if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) return {"number"};
    return {};
  }

  Result<std::string> of_type(const std::string& type, const Json& schema, const Place& place) {
    if (type == "object") return object(schema, place);
    if (type == "array") return array(schema, place);
    if (type == "string") return string(schema, place);
    if (type == "integer" || type == "number") return number(schema, type == "integer", place);
    if (type == "boolean") return use("j-boolean");
    if (type == "null") return use("j-null");
    if (type == kNoType) return std::string();
    return wrong(place, fmt::format("type '{}' is none of object, array, string, integer, number, boolean, null", type));
  }

  // ---- strings ----

  // A repetition within the limits; what does not fit is noted and left open.
  Result<std::string> repeated(const std::string& item, std::int64_t least, std::optional<std::int64_t> most, const Place& place) {
    if (least > limits.repetitions_max || (most && *most > limits.repetitions_max)) note(place, fmt::format("more than {} repetitions are not counted while generating", limits.repetitions_max));
    const int from = static_cast<int>(std::min<std::int64_t>(least, limits.repetitions_max));
    const int to = most && *most <= limits.repetitions_max ? static_cast<int>(*most) : -1;
    repetitions += std::max({from, to, 1});
    if (repetitions > limits.repetitions_sum_max) return too_much(place, fmt::format("more than {} counted repetitions in all", limits.repetitions_sum_max));
    return item + braces(from, to);
  }

  Result<std::optional<std::int64_t>> count(const Json& schema, const char* word, const Place& place) const {
    const Json* value = find(schema, word);
    if (value == nullptr) return std::optional<std::int64_t>();
    if (!value->is_number() || value->get<double>() < 0 || value->get<double>() != std::floor(value->get<double>())) return wrong(place, fmt::format("{} must be an integer of at least 0", word));
    return std::optional(static_cast<std::int64_t>(std::min(value->get<double>(), 1e15)));
  }

  Result<std::string> string(const Json& schema, const Place& place) {
    const auto least = count(schema, "minLength", place);
    if (!least) return least.error();
    const auto most = count(schema, "maxLength", place);
    if (!most) return most.error();
    std::string source;
    if (const Json* pattern = find(schema, "pattern")) {
      if (!pattern->is_string()) return wrong(place, "pattern must be a string");
      source = pattern->get<std::string>();
      if (schema.contains("format")) note(place, "format is not enforced beside pattern");
    } else if (const Json* format = find(schema, "format"); format != nullptr && format->is_string()) {
      source = pattern_of_format(format->get_ref<const std::string&>());
      if (source.empty()) note(place, fmt::format("format '{}' is not enforced", format->get_ref<const std::string&>()));
    }
    if (!source.empty()) {
      const auto parsed = parse_pattern(source);
      if (parsed) {
        if (*least || *most) note(place, "minLength and maxLength are not enforced beside a pattern");
        const auto tree = pattern_body(parsed->tree, place);
        if (!tree) return tree;
        const std::string around = use("j-char") + "*";
        return fmt::format(R"("\"" {} {} {} "\"")", parsed->from_start ? "" : around, *tree, parsed->to_end ? "" : around);
      }
      note(place, parsed.error().message + "; it is not enforced while generating");
    }
    if (!*least && !*most) return use("j-string");
    if (*most && least->value_or(0) > **most) return std::string();
    const auto characters = repeated(use("j-char"), least->value_or(0), *most, place);
    if (!characters) return characters;
    return fmt::format(R"("\"" {} "\"")", *characters);
  }

  Result<std::string> pattern_body(const Pattern& pattern, const Place& place) {
    switch (pattern.kind) {
      case Pattern::Kind::set: return set_in_string(pattern.characters);
      case Pattern::Kind::sequence: {
        std::string body;
        for (const Pattern& part : pattern.parts) {
          const auto made_part = pattern_body(part, place);
          if (!made_part) return made_part;
          body += (body.empty() ? "" : " ") + *made_part;
        }
        return body.empty() ? std::string("\"\"") : "(" + body + ")";
      }
      case Pattern::Kind::choice: {
        std::vector<std::string> ways;
        for (const Pattern& part : pattern.parts) {
          const auto way = pattern_body(part, place);
          if (!way) return way;
          ways.push_back(*way);
        }
        return "(" + either(ways) + ")";
      }
      case Pattern::Kind::repeat: break;
    }
    const auto inner = pattern_body(pattern.parts.front(), place);
    if (!inner) return inner;
    return repeated("(" + *inner + ")", pattern.least, pattern.most == Pattern::kUnbounded ? std::nullopt : std::optional<std::int64_t>(pattern.most), place);
  }

  // One character of a set, as JSON writes it inside a string.
  static std::string set_in_string(const CharacterSet& set) {
    CharacterSet raw;
    const CharacterSet writable = complement({{0, 0x1F}, {0x22, 0x22}, {0x5C, 0x5C}, {0x7F, 0x7F}, {0xD800, 0xDFFF}});
    for (const auto& [first, last] : set) {
      for (const auto& [low, high] : writable) {
        if (std::max(first, low) <= std::min(last, high)) raw.emplace_back(std::max(first, low), std::min(last, high));
      }
    }
    std::vector<std::string> ways;
    if (!raw.empty()) ways.push_back(class_of(raw));
    constexpr std::pair<char32_t, const char*> kEscapes[] = {{U'"', R"("\\\"")"}, {U'\\', R"("\\\\")"}, {U'\n', R"("\\n")"}, {U'\t', R"("\\t")"}, {U'\r', R"("\\r")"}, {U'\f', R"("\\f")"}, {U'\b', R"("\\b")"}};
    for (const auto& [character, written] : kEscapes) {
      if (contains(set, character)) ways.emplace_back(written);
    }
    // Nothing JSON could write here: a class that matches no character, as the empty set does.
    if (ways.empty()) return "[^\\U00000000-\\U0010FFFF]";
    return ways.size() == 1 ? ways.front() : "(" + either(ways) + ")";
  }

  // ---- numbers ----

  Result<Bounds> bounds_of(const Json& schema, const Place& place) {
    Bounds bounds;
    const auto read = [&](const char* word) -> Result<std::optional<double>> {
      const Json* value = find(schema, word);
      if (value == nullptr || value->is_boolean()) return std::optional<double>();  // Booleans: draft 4's way, below.
      if (!value->is_number()) return wrong(place, fmt::format("{} must be a number", word));
      return std::optional(value->get<double>());
    };
    const auto low = read("minimum");
    const auto low_open = read("exclusiveMinimum");
    const auto high = read("maximum");
    const auto high_open = read("exclusiveMaximum");
    for (const auto* each : {&low, &low_open, &high, &high_open}) {
      if (!*each) return each->error();
    }
    const auto draft4 = [&](const char* word) {
      const Json* value = find(schema, word);
      return value != nullptr && value->is_boolean() && value->get<bool>();
    };
    bounds.low = *low;
    bounds.low_open = draft4("exclusiveMinimum");
    if (*low_open && (!bounds.low || **low_open >= *bounds.low)) bounds.low = *low_open, bounds.low_open = true;
    bounds.high = *high;
    bounds.high_open = draft4("exclusiveMaximum");
    if (*high_open && (!bounds.high || **high_open <= *bounds.high)) bounds.high = *high_open, bounds.high_open = true;
    for (std::optional<double>* bound : {&bounds.low, &bounds.high}) {
      if (*bound && std::abs(**bound) > kBoundMax) {
        note(place, "bounds beyond 1e12 are not enforced while generating");
        bound->reset();
      }
    }
    return bounds;
  }

  Result<std::string> number(const Json& schema, bool whole, const Place& place) {
    if (const Json* step = find(schema, "multipleOf"); step != nullptr && step->is_number()) {
      if (*step == 1) whole = true;
      else note(place, "multipleOf is not enforced while generating");
    }
    const auto read = bounds_of(schema, place);
    if (!read) return read.error();
    const Bounds& bounds = *read;
    if (!bounds.low && !bounds.high) return use(whole ? "j-integer" : "j-number");

    // Whole numbers, then (for "number") those with a point, each as its positive and its negative half.
    std::vector<std::string> ways;
    const auto scaled = [](const std::optional<double>& bound, bool open, bool is_low, double scale) -> std::optional<std::int64_t> {
      if (!bound) return std::nullopt;
      const double exact = *bound * scale;
      const double near = std::round(exact);
      const bool whole_bound = std::abs(exact - near) < 1e-6 * std::max(1.0, std::abs(exact) * 1e-9);
      if (whole_bound) return static_cast<std::int64_t>(near) + (open ? (is_low ? 1 : -1) : 0);
      return static_cast<std::int64_t>(is_low ? std::ceil(exact) : std::floor(exact));
    };
    const auto both_halves = [&](double scale, auto&& halves) {
      const auto low = scaled(bounds.low, bounds.low_open, true, scale);
      const auto high = scaled(bounds.high, bounds.high_open, false, scale);
      if (!high || *high >= 0) halves(std::max<std::int64_t>(0, low.value_or(0)), high, std::string());
      const std::int64_t first_negative = high ? std::max<std::int64_t>(1, -*high) : 1;
      if (!low || -*low >= first_negative) halves(first_negative, low ? std::optional(-*low) : std::nullopt, std::string("\"-\" "));
    };
    both_halves(1, [&](std::int64_t low, std::optional<std::int64_t> high, const std::string& sign) { whole_numbers(low, high, sign, ways); });
    if (!whole) both_halves(1e6, [&](std::int64_t low, std::optional<std::int64_t> high, const std::string& sign) { decimal_numbers(low, high, sign, ways); });
    return either(ways);
  }

  // ---- arrays ----

  Result<std::string> array(const Json& schema, const Place& place) {
    const auto least = count(schema, "minItems", place);
    if (!least) return least.error();
    const auto most = count(schema, "maxItems", place);
    if (!most) return most.error();
    if (const Json* unique = find(schema, "uniqueItems"); unique != nullptr && unique->is_boolean() && unique->get<bool>()) note(place, "uniqueItems is not enforced while generating");
    const Json* items = find(schema, "items");
    const Json* first = find(schema, "prefixItems");
    const Json* later = items;
    if (first == nullptr && items != nullptr && items->is_array()) first = items, later = find(schema, "additionalItems");
    if (first != nullptr && !first->is_array()) return wrong(place, "prefixItems must be an array");

    // The leading items one by one, then the rest as a repetition.
    std::vector<std::string> leading;
    for (std::size_t i = 0; first != nullptr && i < first->size(); ++i) {
      const auto rule = rule_for((*first)[i], place.inside(fmt::format("prefixItems.{}", i)));
      if (!rule) return rule;
      if (rule->empty()) break;
      leading.push_back(*rule);
    }
    const bool cut = first != nullptr && leading.size() < first->size();
    std::string item;
    if (!cut) {
      static const Json kAny = true;
      // After a tuple nothing more comes unless the schema says so.
      if (later != nullptr || first == nullptr) {
        const auto rule = rule_for(later == nullptr ? kAny : *later, place.inside("items"));
        if (!rule) return rule;
        item = *rule;
      }
    }
    const std::int64_t at_least = least->value_or(first == nullptr ? 0 : static_cast<std::int64_t>(leading.size()));
    if (*most && **most < at_least) return std::string();
    const auto count_leading = static_cast<std::int64_t>(leading.size());
    if (item.empty() && at_least > count_leading) return std::string();
    const std::string ws = use("j-ws");
    const std::string comma = fmt::format("\",\" {} ", ws);

    // From the inside out: what may follow the first i items.
    std::string after;
    if (!item.empty() && (!*most || **most > count_leading)) {
      const std::int64_t from = std::max<std::int64_t>(0, at_least - count_leading);
      const auto to = *most ? std::optional(**most - count_leading) : std::nullopt;
      if (count_leading > 0) {
        const auto more = repeated("(" + comma + item + ")", from, to, place);
        if (!more) return more;
        after = *more;
      } else {
        const auto more = repeated("(" + comma + item + ")", std::max<std::int64_t>(0, from - 1), to ? std::optional(*to - 1) : std::nullopt, place);
        if (!more) return more;
        const std::string list = fmt::format("{} {} {}", item, *more, ws);
        return fmt::format(R"("[" {} {} "]")", ws, from == 0 ? "(" + list + ")?" : list);
      }
    }
    for (std::int64_t i = std::min(count_leading, most->value_or(count_leading)); i-- > 0;) {
      const std::string here = fmt::format("{}{} {}", i == 0 ? "" : comma, leading[static_cast<std::size_t>(i)], after);
      after = i < at_least ? here : "(" + here + ")?";
    }
    return fmt::format(R"("[" {0} {1} {0} "]")", ws, after);
  }

  // ---- objects ----

  struct Property {
    std::string pair;  // Key, colon, value.
    bool required = false;
  };

  Result<std::string> object(const Json& schema, const Place& place) {
    static const Json kAny = true;
    static const Json kNone = Json::object();
    const Json* listed = find(schema, "properties");
    if (listed != nullptr && !listed->is_object()) return wrong(place, "properties must be an object");
    const Json& properties = listed == nullptr ? kNone : *listed;
    std::vector<std::string> required;
    // A boolean: draft 3's way, which says something about the parent.
    if (const Json* names = find(schema, "required"); names != nullptr && !names->is_boolean()) {
      if (!names->is_array()) return wrong(place, "required must be an array of strings");
      for (const Json& name : *names) {
        if (!name.is_string()) return wrong(place, "required must be an array of strings");
        required.push_back(name.get<std::string>());
      }
    }
    const Json* more = find(schema, "additionalProperties");
    const Json* by_pattern = find(schema, "patternProperties");
    if (by_pattern != nullptr && !by_pattern->is_object()) return wrong(place, "patternProperties must be an object");

    std::vector<Property> pairs;
    std::set<std::string> names;
    const std::set<std::string> needed(required.begin(), required.end());
    for (const auto& [name, value] : properties.items()) {
      const auto rule = rule_for(value, place.inside("properties." + name));
      if (!rule) return rule;
      names.insert(name);
      const bool must = needed.contains(name);
      if (rule->empty() && must) return std::string();
      if (!rule->empty()) pairs.push_back({pair(literal(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace)), *rule), must});
    }
    for (const std::string& name : required) {
      if (!names.insert(name).second) continue;
      const auto rule = rule_for(more == nullptr ? kAny : *more, place.inside("required." + name));
      if (!rule) return rule;
      if (rule->empty()) return std::string();
      pairs.push_back({pair(literal(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace)), *rule), true});
    }

    std::vector<std::string> others;  // Pairs that may come any number of times.
    if (by_pattern != nullptr) {
      for (const auto& [source, value] : by_pattern->items()) {
        const auto parsed = parse_pattern(source);
        if (!parsed || !names.empty() || by_pattern->size() > 1) {
          note(place, "patternProperties beside other properties, or with this pattern, are not generated");
          continue;
        }
        const auto rule = rule_for(value, place.inside("patternProperties"));
        if (!rule) return rule;
        const auto key = pattern_body(parsed->tree, place);
        if (!key) return key;
        const std::string around = use("j-char") + "*";
        if (!rule->empty()) others.push_back(pair(fmt::format(R"("\"" {} {} {} "\"")", parsed->from_start ? "" : around, *key, parsed->to_end ? "" : around), *rule));
      }
    }
    const bool open = more == nullptr ? names.empty() && by_pattern == nullptr : !(more->is_boolean() && !more->get<bool>()) && by_pattern == nullptr;
    if (open) {
      const auto rule = rule_for(more == nullptr ? kAny : *more, place.inside("additionalProperties"));
      if (!rule) return rule;
      if (!rule->empty()) others.push_back(pair(key_other_than(names), *rule));
    }
    return laid_out(schema, pairs, others, place);
  }

  std::string pair(const std::string& key, const std::string& value) { return fmt::format("{} \":\" {} {}", key, use("j-ws"), value); }

  Result<std::string> laid_out(const Json& schema, const std::vector<Property>& pairs, const std::vector<std::string>& others, const Place& place) {
    const auto least = count(schema, "minProperties", place);
    if (!least) return least.error();
    const auto most = count(schema, "maxProperties", place);
    if (!most) return most.error();
    const std::string ws = use("j-ws");
    const std::string comma = fmt::format("\",\" {} ", ws);
    std::string other;
    if (!others.empty()) {
      other = fmt::format("j-{}", made++);
      emit(other, either(others));
    }
    if (pairs.empty()) {
      // The same key might be said twice, which counts once.
      if (least->value_or(0) > 1) note(place, "minProperties is not enforced for repeated keys");
      if (other.empty() || (*most && **most == 0)) return least->value_or(0) > 0 ? std::string() : fmt::format(R"("{{" {} "}}")", ws);
      const auto rest = repeated("(" + comma + other + ")", std::max<std::int64_t>(0, least->value_or(0) - 1), *most ? std::optional(**most - 1) : std::nullopt, place);
      if (!rest) return rest;
      const std::string list = fmt::format("{} {} {}", other, *rest, ws);
      return fmt::format(R"("{{" {} {} "}}")", ws, least->value_or(0) == 0 ? "(" + list + ")?" : list);
    }
    if (*least || *most) note(place, "minProperties and maxProperties are not enforced while generating");

    // rest: what may follow once something stands there; first: what may come when nothing does yet.
    // Two rules a property keep the commas right in space linear in their number.
    std::string rest = other.empty() ? "" : fmt::format("({}{})*", comma, other);
    std::string first = other.empty() ? "" : fmt::format("({} ({}{})*)?", other, comma, other);
    for (auto property = pairs.rbegin(); property != pairs.rend(); ++property) {
      if (Result<void> left = room(place); !left) return std::move(left).error();
      const std::string pair_rule = fmt::format("j-{}", made++);
      emit(pair_rule, property->pair);
      std::string rest_rule;
      if (!rest.empty()) {
        rest_rule = fmt::format("j-{}", made++);
        emit(rest_rule, rest);
      }
      std::string here = fmt::format("{} {}", pair_rule, rest_rule);
      if (!property->required && !first.empty()) {
        const std::string later = fmt::format("j-{}", made++);
        emit(later, first);
        here += " | " + later;
      } else if (!property->required) {
        here = "(" + here + ")?";
      }
      first = here;
      rest = property->required ? fmt::format("{}{} {}", comma, pair_rule, rest_rule) : fmt::format("({}{})? {}", comma, pair_rule, rest_rule);
    }
    return fmt::format(R"("{{" {0} ({1}) {0} "}}")", ws, first);
  }

  // A string that is none of the names, written without escapes (which could spell a name another way).
  std::string key_other_than(const std::set<std::string>& names) {
    if (names.empty()) return use("j-string");
    std::vector<std::u32string> sorted;
    for (const std::string& name : names) sorted.push_back(code_points(name));
    std::ranges::sort(sorted);
    return "\"\\\"\" " + differing_rule(sorted, 0);
  }

  // All of `names` agree in their first `depth` characters, which have been read.
  std::string differing_rule(const std::vector<std::u32string>& names, std::size_t depth) {
    const CharacterSet writable = complement({{0, 0x1F}, {0x22, 0x22}, {0x5C, 0x5C}, {0x7F, 0x7F}, {0xD800, 0xDFFF}});
    const std::string name = fmt::format("j-{}", made++);
    std::vector<std::string> ways;
    const bool is_name = names.front().size() == depth;
    if (!is_name) ways.emplace_back("\"\\\"\"");  // It ends here, as none of the names does.
    CharacterSet taken = complement(writable);
    std::size_t at = is_name ? 1 : 0;
    while (at < names.size()) {
      const char32_t next = names[at][depth];
      std::vector<std::u32string> same;
      for (; at < names.size() && names[at][depth] == next; ++at) same.push_back(names[at]);
      if (!contains(writable, next)) continue;
      taken.emplace_back(next, next);
      ways.push_back(class_of({{next, next}}) + " " + differing_rule(same, depth + 1));
    }
    std::ranges::sort(taken);
    ways.push_back(class_of(complement(taken)) + " " + class_of(writable) + "* \"\\\"\"");
    emit(name, either(ways));
    return name;
  }

  // ---- merging ----

  // What matches both. Words that cannot be joined are noted, the first one kept.
  Result<Json> merge(const Json& one, const Json& other, const Place& place, int depth = 0) {
    if (one.is_boolean()) return one.get<bool>() ? other : one;
    if (other.is_boolean()) return other.get<bool>() ? one : other;
    if (!one.is_object() || !other.is_object()) return wrong(place, "a schema is an object, true or false");
    if (depth > limits.depth_max) return too_much(place, "$ref and allOf are nested too deeply");
    if (++schemas_seen > limits.schemas_max) return too_much(place, fmt::format("more than {} subschemas, written out", limits.schemas_max));
    for (const bool swapped : {false, true}) {
      const Json& with_ref = swapped ? other : one;
      const Json* ref = find(with_ref, "$ref");
      if (ref == nullptr) continue;
      const auto target = target_of(*ref, place);
      if (!target) return target.error();
      const auto opened = merge(**target, without(with_ref, {"$ref"}), place, depth + 1);
      if (!opened) return opened;
      return swapped ? merge(one, *opened, place, depth + 1) : merge(*opened, other, place, depth + 1);
    }
    const bool tuples = has_tuple(one) || has_tuple(other);
    Json joined = without(one, {});
    for (const auto& [word, value] : other.items()) {
      if (is_annotation(word) || (tuples && (word == "items" || word == "prefixItems" || word == "additionalItems"))) continue;
      const Json* mine = find(joined, word.c_str());
      if (mine == nullptr) {
        joined[word] = value;
      } else if (*mine != value) {
        auto both = join(word, *mine, value, place, depth);
        if (!both) return both;
        joined[word] = *std::move(both);
      }
    }
    if (Result<void> closed = close_over(one, other, joined, place, depth); !closed) return std::move(closed).error();
    if (tuples) {
      if (Result<void> done = join_tuples(one, other, joined, place, depth); !done) return std::move(done).error();
    }
    return joined;
  }

  // To one half's additionalProperties, the other half's properties are additional.
  Result<void> close_over(const Json& one, const Json& other, Json& joined, const Place& place, int depth) {
    for (const auto& [closed, open] : {std::pair(&one, &other), std::pair(&other, &one)}) {
      const Json* more = find(*closed, "additionalProperties");
      const Json* theirs = find(*open, "properties");
      if (more == nullptr || *more == true || theirs == nullptr || !theirs->is_object()) continue;
      if (closed->contains("patternProperties")) note(place, "patternProperties in a part of allOf are not enforced while generating");
      const Json* ours = find(*closed, "properties");
      for (const auto& [name, value] : theirs->items()) {
        if (ours != nullptr && ours->contains(name)) continue;
        auto both = merge(joined["properties"][name], *more, place.in(name), depth + 1);
        if (!both) return std::move(both).error();
        joined["properties"][name] = *std::move(both);
      }
    }
    return {};
  }

  static bool has_tuple(const Json& schema) {
    const Json* items = find(schema, "items");
    return schema.contains("prefixItems") || (items != nullptr && items->is_array());
  }

  // Item by item: where one half's tuple has ended, its rule for the rest holds.
  Result<void> join_tuples(const Json& one, const Json& other, Json& joined, const Place& place, int depth) {
    static const Json kNone = Json::array();
    struct Half {
      const Json* first;
      const Json* rest;
    };
    const auto half_of = [](const Json& schema) {
      const Json* items = find(schema, "items");
      if (const Json* first = find(schema, "prefixItems"); first != nullptr && first->is_array()) return Half{first, items};
      if (items != nullptr && items->is_array()) return Half{items, find(schema, "additionalItems")};
      return Half{&kNone, items};
    };
    const Half mine = half_of(one);
    const Half theirs = half_of(other);
    for (const char* word : {"prefixItems", "items", "additionalItems"}) joined.erase(word);
    Json& first = joined["prefixItems"] = Json::array();
    const auto at = [](const Half& half, std::size_t i) { return i < half.first->size() ? (*half.first)[i] : half.rest != nullptr ? *half.rest : Json(true); };
    for (std::size_t i = 0; i < std::max(mine.first->size(), theirs.first->size()); ++i) {
      auto both = merge(at(mine, i), at(theirs, i), place.in(std::to_string(i)), depth + 1);
      if (!both) return std::move(both).error();
      first.push_back(*std::move(both));
    }
    if (mine.rest != nullptr || theirs.rest != nullptr) {
      auto both = merge(mine.rest != nullptr ? *mine.rest : Json(true), theirs.rest != nullptr ? *theirs.rest : Json(true), place.in("items"), depth + 1);
      if (!both) return std::move(both).error();
      joined["items"] = *std::move(both);
    }
    return {};
  }

  Result<Json> join(const std::string& word, const Json& one, const Json& other, const Place& place, int depth) {
    if (word == "properties" && one.is_object() && other.is_object()) {
      Json joined = one;
      for (const auto& [name, value] : other.items()) {
        if (const Json* mine = find(joined, name.c_str())) {
          auto both = merge(*mine, value, place.in(name), depth + 1);
          if (!both) return both;
          joined[name] = *std::move(both);
        } else {
          joined[name] = value;
        }
      }
      return joined;
    }
    if (word == "required" && one.is_array() && other.is_array()) {
      Json joined = one;
      for (const Json& name : other) {
        if (std::ranges::find(joined, name) == joined.end()) joined.push_back(name);
      }
      return joined;
    }
    if (word == "enum" && one.is_array() && other.is_array()) {
      Json joined = Json::array();
      for (const Json& value : one) {
        if (std::ranges::find(other, value) != other.end()) joined.push_back(value);
      }
      return joined;
    }
    if (word == "type") return joined_types(one, other);
    if (word == "items" || word == "additionalProperties") return merge(one, other, place.in(word), depth + 1);
    if (one.is_number() && other.is_number()) {
      const bool larger = word.starts_with("min") || word == "exclusiveMinimum";
      if (larger || word.starts_with("max") || word == "exclusiveMaximum") return (one.get<double>() > other.get<double>()) == larger ? one : other;
    }
    if ((word == "anyOf" || word == "oneOf") && one.is_array() && other.is_array() && one.size() * other.size() <= kProductMax) {
      Json joined = Json::array();
      for (const Json& mine : one) {
        for (const Json& theirs : other) {
          auto both = merge(mine, theirs, place, depth + 1);
          if (!both) return both;
          joined.push_back(*std::move(both));
        }
      }
      return joined;
    }
    note(place, fmt::format("two different {} at once are not enforced while generating", word));
    return one;
  }

  static Json joined_types(const Json& one, const Json& other) {
    const Json mine = one.is_array() ? one : Json::array({one});
    const Json theirs = other.is_array() ? other : Json::array({other});
    Json joined = Json::array();
    for (const Json& type : mine) {
      const bool both = std::ranges::find(theirs, type) != theirs.end();
      if (both || (type == "integer" && std::ranges::find(theirs, "number") != theirs.end())) joined.push_back(type);
      else if (type == "number" && std::ranges::find(theirs, "integer") != theirs.end()) joined.push_back("integer");
    }
    if (joined.empty()) return kNoType;  // An empty list would read as "any".
    return joined;
  }
};

GrammarBuilder::GrammarBuilder(GrammarLimits limits) : state_(std::make_unique<State>()) { state_->limits = limits; }
GrammarBuilder::GrammarBuilder(GrammarBuilder&&) noexcept = default;
GrammarBuilder& GrammarBuilder::operator=(GrammarBuilder&&) noexcept = default;
GrammarBuilder::~GrammarBuilder() = default;

Result<std::string> GrammarBuilder::add_schema(std::string_view schema, std::string_view place) {
  State::Place top{nullptr, state_->roots.size(), std::string(place)};
  if (schema.size() > state_->limits.schema_bytes_max) return State::too_much(top, fmt::format("the schema has {} bytes; at most {} are read", schema.size(), state_->limits.schema_bytes_max));
  // The parser recurses: nesting is counted before it.
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < schema.size(); ++i) {
    const char c = schema[i];
    if (in_string && c == '\\') ++i;
    else if (c == '"') in_string = !in_string;
    else if (!in_string && (c == '{' || c == '[')) deepest = std::max(deepest, ++depth);
    else if (!in_string && (c == '}' || c == ']')) --depth;
  }
  if (deepest > 4 * state_->limits.depth_max) return State::too_much(top, fmt::format("nested more than {} deep", 4 * state_->limits.depth_max));
  auto root = std::make_unique<Json>(Json::parse(schema, nullptr, false));
  if (root->is_discarded()) return State::wrong(top, "the schema is not JSON");
  state_->roots.push_back(std::move(root));
  top.root = state_->roots.back().get();
  auto rule = state_->rule_for(*top.root, top);
  if (!rule) return rule;
  if (rule->empty()) return State::wrong(top, "no value matches the schema");
  if (Result<void> left = state_->room(top); !left) return std::move(left).error();
  return rule;
}

void GrammarBuilder::add_rule(std::string_view name, std::string_view body) {
  state_->own.insert(std::string(name));
  state_->emit(name, body);
}
bool GrammarBuilder::has_rule(std::string_view name) const { return state_->own.contains(std::string(name)); }
void GrammarBuilder::add_note(std::string note) {
  if (state_->notes.size() < kNotesMax && std::ranges::find(state_->notes, note) == state_->notes.end()) state_->notes.push_back(std::move(note));
}

std::string GrammarBuilder::literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) out += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    else out.push_back(c);
  }
  return out + "\"";
}

std::string GrammarBuilder::text() const { return state_->rules; }
const std::vector<std::string>& GrammarBuilder::notes() const { return state_->notes; }

Result<SchemaGrammar> json_schema_grammar(std::string_view schema, std::string_view place, GrammarLimits limits) {
  GrammarBuilder builder(limits);
  const auto rule = builder.add_schema(schema, place);
  if (!rule) return rule.error();
  builder.add_rule("root", *rule);
  return SchemaGrammar{builder.text(), builder.notes()};
}

}  // namespace pensieve
