// How a JSON Schema becomes rules: the inside of GrammarBuilder (json_schema_grammar.h), one
// idea a file: json_schema_rules.cpp has what any subschema goes through, _strings, _numbers
// and _containers what its type makes of it, _merge how two schemas become one.
//
//   Owns     the rules made so far.
//   Threads  one.
//   Errors   as json_schema_grammar.h says. An empty rule: no value matches.
#pragma once

#include <fmt/format.h>

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/json_schema_grammar.h"
#include "chat/pattern.h"

namespace pensieve {

struct SchemaRules {
  using Json = nlohmann::ordered_json;  // Properties are generated in the schema's order.

  // Where a subschema stands.
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

  explicit SchemaRules(GrammarLimits with) : limits(with) {}

  // The rule of a subschema.
  Result<std::string> rule_for(const Json& schema, const Place& place);
  void emit(std::string_view name, std::string_view body);
  void note(const Place& place, std::string_view what);
  void note(std::string line);  // As it is.
  Result<void> room(const Place& place) const;
  static Error wrong(const Place& place, std::string_view what);
  static Error too_much(const Place& place, std::string_view what);

  GrammarLimits limits;
  std::string rules;
  std::vector<std::string> notes;
  std::vector<std::unique_ptr<Json>> roots;
  std::set<std::string> own;  // Names of rules that were added from outside.

  struct Known {
    std::string name;
    int guards = 0;
    bool open = true;      // Still being made.
    bool nothing = false;  // No value matches it.
  };
  struct Property {
    std::string pair;  // Key, colon, value.
    bool required = false;
  };
  struct Bounds {
    std::optional<double> low, high;
    bool low_open = false, high_open = false;  // The bound itself is out.
  };

  // One subschema.
  std::string use(const std::string& name);
  Result<const Json*> target_of(const Json& ref, const Place& place) const;
  static std::string unescaped(const std::string& step);
  static Json without(const Json& schema, std::initializer_list<std::string_view> keys);
  Result<std::string> body_of(const Json& schema, const Place& place);
  Result<std::string> alternatives(const Json& some, const Json& rest, bool exactly_one, const Place& place);
  Result<std::string> literals(const Json& schema, const Place& place);
  Result<std::string> by_type(const Json& schema, const Place& place);
  static std::vector<std::string> meant_types(const Json& schema);
  Result<std::string> of_type(const std::string& type, const Json& schema, const Place& place);

  // Strings, and keys of objects.
  Result<std::string> repeated(const std::string& item, std::int64_t least, std::optional<std::int64_t> most, const Place& place);
  Result<std::optional<std::int64_t>> count(const Json& schema, const char* word, const Place& place) const;
  Result<std::string> string(const Json& schema, const Place& place);
  Result<std::string> pattern_body(const Pattern& pattern, const Place& place);
  static std::string set_in_string(const CharacterSet& set);
  std::string key_other_than(const std::set<std::string>& names);
  std::string differing_rule(const std::vector<std::u32string>& names, std::size_t depth);

  // Numbers.
  Result<Bounds> bounds_of(const Json& schema, const Place& place);
  Result<std::string> number(const Json& schema, bool whole, const Place& place);

  // Arrays and objects.
  Result<std::string> array(const Json& schema, const Place& place);
  Result<std::string> object(const Json& schema, const Place& place);
  std::string pair(const std::string& key, const std::string& value);
  Result<std::string> laid_out(const Json& schema, const std::vector<Property>& pairs, const std::vector<std::string>& others, const Place& place);

  // Two schemas at once.
  Result<Json> merge(const Json& one, const Json& other, const Place& place, int depth = 0);
  Result<void> close_over(const Json& one, const Json& other, Json& joined, const Place& place, int depth);
  static bool has_tuple(const Json& schema);
  Result<void> join_tuples(const Json& one, const Json& other, Json& joined, const Place& place, int depth);
  Result<Json> join(const std::string& word, const Json& one, const Json& other, const Place& place, int depth);
  static Json joined_types(const Json& one, const Json& other);

  std::map<std::string, Known> known;
  std::set<std::string> shared;
  std::size_t made = 0;
  std::size_t schemas_seen = 0;
  std::size_t dumped_bytes = 0;
  int repetitions = 0;
};

// What the files of SchemaRules share.
namespace schema_rules {
const nlohmann::ordered_json* find(const nlohmann::ordered_json& object, const char* key);
std::string either(const std::vector<std::string>& ways);  // One of them.
std::string braces(int least, int most);                   // Of a repetition; nothing for "once".
bool is_annotation(std::string_view key);                  // Says nothing about which values match.
inline constexpr const char* kNoType = "pensieve:none";    // Two types that exclude each other, merged.
}  // namespace schema_rules

}  // namespace pensieve
