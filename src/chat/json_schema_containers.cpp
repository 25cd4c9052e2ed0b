#include "chat/json_schema_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace pensieve {
using schema_rules::either;
using schema_rules::find;
using Json = nlohmann::ordered_json;

Result<std::string> SchemaRules::array(const Json& schema, const Place& place) {
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

Result<std::string> SchemaRules::object(const Json& schema, const Place& place) {
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
    if (!rule->empty()) pairs.push_back({pair(GrammarBuilder::literal(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace)), *rule), must});
  }
  for (const std::string& name : required) {
    if (!names.insert(name).second) continue;
    const auto rule = rule_for(more == nullptr ? kAny : *more, place.inside("required." + name));
    if (!rule) return rule;
    if (rule->empty()) return std::string();
    pairs.push_back({pair(GrammarBuilder::literal(Json(name).dump(-1, ' ', false, Json::error_handler_t::replace)), *rule), true});
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

std::string SchemaRules::pair(const std::string& key, const std::string& value) { return fmt::format("{} \":\" {} {}", key, use("j-ws"), value); }

Result<std::string> SchemaRules::laid_out(const Json& schema, const std::vector<Property>& pairs, const std::vector<std::string>& others, const Place& place) {
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

}  // namespace pensieve
