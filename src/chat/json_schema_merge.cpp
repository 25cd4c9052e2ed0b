#include "chat/json_schema_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace pensieve {
using schema_rules::find;
using schema_rules::is_annotation;
using schema_rules::kNoType;
using Json = nlohmann::ordered_json;

namespace {

constexpr std::size_t kProductMax = 64;             // anyOf times anyOf.

}  // namespace

// What matches both. Words that cannot be joined are noted, the first one kept.
Result<Json> SchemaRules::merge(const Json& one, const Json& other, const Place& place, int depth) {
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
Result<void> SchemaRules::close_over(const Json& one, const Json& other, Json& joined, const Place& place, int depth) {
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

bool SchemaRules::has_tuple(const Json& schema) {
  const Json* items = find(schema, "items");
  return schema.contains("prefixItems") || (items != nullptr && items->is_array());
}

// Item by item: where one half's tuple has ended, its rule for the rest holds.
Result<void> SchemaRules::join_tuples(const Json& one, const Json& other, Json& joined, const Place& place, int depth) {
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

Result<Json> SchemaRules::join(const std::string& word, const Json& one, const Json& other, const Place& place, int depth) {
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

Json SchemaRules::joined_types(const Json& one, const Json& other) {
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

}  // namespace pensieve
