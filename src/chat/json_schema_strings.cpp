#include "chat/json_schema_rules.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/json_schema_formats.h"

namespace pensieve {
using schema_rules::braces;
using schema_rules::either;
using schema_rules::find;
using Json = nlohmann::ordered_json;

namespace {

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

}  // namespace

// A repetition within the limits; what does not fit is noted and left open.
Result<std::string> SchemaRules::repeated(const std::string& item, std::int64_t least, std::optional<std::int64_t> most, const Place& place) {
  if (least > limits.repetitions_max || (most && *most > limits.repetitions_max)) note(place, fmt::format("more than {} repetitions are not counted while generating", limits.repetitions_max));
  const int from = static_cast<int>(std::min<std::int64_t>(least, limits.repetitions_max));
  const int to = most && *most <= limits.repetitions_max ? static_cast<int>(*most) : -1;
  repetitions += std::max({from, to, 1});
  if (repetitions > limits.repetitions_sum_max) return too_much(place, fmt::format("more than {} counted repetitions in all", limits.repetitions_sum_max));
  return item + braces(from, to);
}

Result<std::optional<std::int64_t>> SchemaRules::count(const Json& schema, const char* word, const Place& place) const {
  const Json* value = find(schema, word);
  if (value == nullptr) return std::optional<std::int64_t>();
  if (!value->is_number() || value->get<double>() < 0 || value->get<double>() != std::floor(value->get<double>())) return wrong(place, fmt::format("{} must be an integer of at least 0", word));
  return std::optional(static_cast<std::int64_t>(std::min(value->get<double>(), 1e15)));
}

Result<std::string> SchemaRules::string(const Json& schema, const Place& place) {
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

Result<std::string> SchemaRules::pattern_body(const Pattern& pattern, const Place& place) {
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
std::string SchemaRules::set_in_string(const CharacterSet& set) {
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

// A string that is none of the names, written without escapes (which could spell a name another way).
std::string SchemaRules::key_other_than(const std::set<std::string>& names) {
  if (names.empty()) return use("j-string");
  std::vector<std::u32string> sorted;
  for (const std::string& name : names) sorted.push_back(code_points(name));
  std::ranges::sort(sorted);
  return "\"\\\"\" " + differing_rule(sorted, 0);
}

// All of `names` agree in their first `depth` characters, which have been read.
std::string SchemaRules::differing_rule(const std::vector<std::u32string>& names, std::size_t depth) {
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

}  // namespace pensieve
