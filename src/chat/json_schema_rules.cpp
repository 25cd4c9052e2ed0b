#include "chat/json_schema_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/json_schema_check.h"

namespace pensieve {
using schema_rules::either;
using schema_rules::find;
using schema_rules::is_annotation;
using schema_rules::kNoType;
using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t kNotesMax = 50;
constexpr std::size_t kDumpedBytesMax = 64u << 20;  // Work of telling equal subschemas apart.

// Words that say nothing about which values match.
constexpr std::string_view kAnnotations[] = {"title", "description", "default", "examples", "example", "$comment", "$schema", "$id", "$anchor", "id",
                                             "$defs", "definitions", "deprecated", "readOnly", "writeOnly", "contentMediaType", "contentEncoding", "$vocabulary", "discriminator", "xml", "externalDocs"};

}  // namespace

namespace schema_rules {

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

std::string either(const std::vector<std::string>& ways) {
  std::string body;
  for (const std::string& way : ways) body += (body.empty() ? "" : " | ") + way;
  return body;
}

std::string braces(int least, int most) {
  if (least == 1 && most == 1) return "";
  if (least == 0 && most == 1) return "?";
  if (most < 0) return least == 0 ? "*" : least == 1 ? "+" : fmt::format("{{{},}}", least);
  return least == most ? fmt::format("{{{}}}", least) : fmt::format("{{{},{}}}", least, most);
}

bool is_annotation(std::string_view key) { return std::ranges::find(kAnnotations, key) != std::end(kAnnotations) || key.starts_with("x-"); }

}  // namespace schema_rules

void SchemaRules::note(const Place& place, std::string_view what) {
  note(fmt::format("{}: {}", place.path, what));
}

void SchemaRules::note(std::string line) {
  if (notes.size() < kNotesMax && std::ranges::find(notes, line) == notes.end()) notes.push_back(std::move(line));
}

Error SchemaRules::wrong(const Place& place, std::string_view what) { return {ErrorCode::invalid_argument, fmt::format("{}: {}", place.path, what)}; }

Error SchemaRules::too_much(const Place& place, std::string_view what) { return {ErrorCode::too_large, fmt::format("{}: {}", place.path, what)}; }

void SchemaRules::emit(std::string_view name, std::string_view body) { rules += fmt::format("{} ::= {}\n", name, body); }

Result<void> SchemaRules::room(const Place& place) const {
  if (rules.size() > limits.grammar_bytes_max) return too_much(place, fmt::format("the schema becomes a grammar of more than {} bytes", limits.grammar_bytes_max));
  return {};
}

// Rules that every schema shares, made when first named.
std::string SchemaRules::use(const std::string& name) {
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

// The rule of a subschema; an empty name when nothing matches it.
Result<std::string> SchemaRules::rule_for(const Json& schema, const Place& place) {
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

Result<const Json*> SchemaRules::target_of(const Json& ref, const Place& place) const {
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

std::string SchemaRules::unescaped(const std::string& step) {
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

Json SchemaRules::without(const Json& schema, std::initializer_list<std::string_view> keys) {
  Json rest = Json::object();
  for (const auto& [key, value] : schema.items()) {
    if (!is_annotation(key) && std::ranges::find(keys, key) == keys.end()) rest[key] = value;
  }
  return rest;
}

Result<std::string> SchemaRules::body_of(const Json& schema, const Place& place) {
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

Result<std::string> SchemaRules::alternatives(const Json& some, const Json& rest, bool exactly_one, const Place& place) {
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

Result<std::string> SchemaRules::literals(const Json& schema, const Place& place) {
  Json values = Json::array();
  if (const Json* single = find(schema, "const")) values.push_back(*single);
  else values = schema.at("enum");
  if (!values.is_array()) return wrong(place, "enum must be an array");
  std::vector<std::string> ways;
  std::set<std::string> seen;
  for (const Json& value : values) {
    if (!schema_violations(*place.root, schema, value, 1).empty()) continue;
    std::string text = GrammarBuilder::literal(value.dump(-1, ' ', false, Json::error_handler_t::replace));
    if (seen.insert(text).second) ways.push_back(std::move(text));
  }
  return either(ways);
}

Result<std::string> SchemaRules::by_type(const Json& schema, const Place& place) {
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
std::vector<std::string> SchemaRules::meant_types(const Json& schema) {
  const auto has = [&](std::initializer_list<const char*> words) { return std::ranges::any_of(words, [&](const char* word) { return schema.contains(word); }); };
  if (has({"properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"})) return {"object"};
  if (has({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})) return {"array"};
  if (has({"pattern", "minLength", "maxLength", "format"})) return {"string"};
  if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) return {"number"};
  return {};
}

Result<std::string> SchemaRules::of_type(const std::string& type, const Json& schema, const Place& place) {
  if (type == "object") return object(schema, place);
  if (type == "array") return array(schema, place);
  if (type == "string") return string(schema, place);
  if (type == "integer" || type == "number") return number(schema, type == "integer", place);
  if (type == "boolean") return use("j-boolean");
  if (type == "null") return use("j-null");
  if (type == kNoType) return std::string();
  return wrong(place, fmt::format("type '{}' is none of object, array, string, integer, number, boolean, null", type));
}

}  // namespace pensieve
