#include "chat/json_schema_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "chat/json_schema_formats.h"
#include "chat/pattern.h"

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 256;           // Of the value; a $ref that reads nothing ends here too.
constexpr std::size_t kStepsMax = 200000;  // Schemas applied to values.

const Json* find(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? nullptr : &*found;
}

bool is_whole(const Json& value) { return value.is_number_integer() || (value.is_number() && value.get<double>() == std::floor(value.get<double>())); }

bool has_type(const Json& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "integer") return is_whole(value);
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_boolean();
  if (type == "null") return value.is_null();
  return false;
}

// As JSON Schema compares: the order of keys does not count, 1 equals 1.0.
bool equal(const Json& one, const Json& other) {
  if (one.is_number() && other.is_number()) return one.get<double>() == other.get<double>();
  if (one.is_object() && other.is_object()) {
    if (one.size() != other.size()) return false;
    return std::ranges::all_of(one.items(), [&](const auto& item) {
      const Json* theirs = find(other, item.key().c_str());
      return theirs != nullptr && equal(item.value(), *theirs);
    });
  }
  if (one.is_array() && other.is_array()) return std::ranges::equal(one, other, equal);
  return one == other;
}

class Checker {
 public:
  Checker(const Json& root, std::size_t most) : root_(root), most_(most) {}

  std::vector<std::string> take() { return std::move(found_); }

  void check(const Json& schema, const Json& value, const std::string& place, int depth) {
    if (found_.size() >= most_) return;
    if (depth > kDepthMax || ++steps_ > kStepsMax) return say(place, "is too much to check");
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) say(place, "must not be there");
      return;
    }
    if (!schema.is_object()) return;
    if (const Json* ref = find(schema, "$ref"); ref != nullptr && ref->is_string()) {
      const Json* target = target_of(ref->get_ref<const std::string&>());
      if (target == nullptr) say(place, fmt::format("the schema's $ref {} leads nowhere", ref->dump()));
      else check(*target, value, place, depth + 1);
    }
    values(schema, value, place);
    combined(schema, value, place, depth);
    if (value.is_string()) text(schema, value.get_ref<const std::string&>(), place);
    if (value.is_number()) number(schema, value.get<double>(), place);
    if (value.is_array()) array(schema, value, place, depth);
    if (value.is_object()) object(schema, value, place, depth);
  }

 private:
  void say(const std::string& place, std::string_view what) {
    if (found_.size() < most_) found_.push_back(fmt::format("{}: {}", place.empty() ? "the value" : place, what));
  }

  bool fits(const Json& schema, const Json& value, int depth) {
    Checker inner(root_, 1);
    inner.steps_ = steps_;
    inner.check(schema, value, "", depth + 1);
    steps_ = inner.steps_;
    return inner.found_.empty();
  }

  const Json* target_of(const std::string& ref) const {
    if (!ref.starts_with('#')) return nullptr;
    const Json* at = &root_;
    for (std::size_t from = 1; from < ref.size();) {
      const std::size_t end = std::min(ref.find('/', from + 1), ref.size());
      std::string step = ref.substr(from + 1, end - from - 1);
      for (const auto& [escape, meant] : {std::pair("~1", "/"), std::pair("~0", "~")}) {
        for (std::size_t i = step.find(escape); i != std::string::npos; i = step.find(escape, i + 1)) step.replace(i, 2, meant);
      }
      if (at->is_array() && !step.empty() && step.size() < 7 && std::ranges::all_of(step, [](char c) { return c >= '0' && c <= '9'; })) {
        const auto index = static_cast<std::size_t>(std::stoul(step));
        at = index < at->size() ? &(*at)[index] : nullptr;
      } else {
        at = at->is_object() ? find(*at, step.c_str()) : nullptr;
      }
      if (at == nullptr) return nullptr;
      from = end;
    }
    return at;
  }

  void values(const Json& schema, const Json& value, const std::string& place) {
    if (const Json* type = find(schema, "type")) {
      const Json* nullable = find(schema, "nullable");
      bool any = nullable != nullptr && *nullable == true && value.is_null();
      for (const Json& one : type->is_array() ? *type : Json::array({*type})) any = any || (one.is_string() && has_type(value, one.get_ref<const std::string&>()));
      if (!any) say(place, fmt::format("is {}, not {}", value.type_name(), type->dump()));
    }
    if (const Json* list = find(schema, "enum"); list != nullptr && list->is_array()) {
      if (std::ranges::none_of(*list, [&](const Json& one) { return equal(one, value); })) say(place, "is none of the enum's values");
    }
    if (const Json* single = find(schema, "const"); single != nullptr && !equal(*single, value)) say(place, fmt::format("is not {}", single->dump(-1, ' ', false, Json::error_handler_t::replace)));
  }

  void combined(const Json& schema, const Json& value, const std::string& place, int depth) {
    if (const Json* all = find(schema, "allOf"); all != nullptr && all->is_array()) {
      for (const Json& part : *all) check(part, value, place, depth + 1);
    }
    if (const Json* some = find(schema, "anyOf"); some != nullptr && some->is_array()) {
      if (std::ranges::none_of(*some, [&](const Json& part) { return fits(part, value, depth); })) say(place, "matches none of anyOf");
    }
    if (const Json* one = find(schema, "oneOf"); one != nullptr && one->is_array()) {
      const auto count = std::ranges::count_if(*one, [&](const Json& part) { return fits(part, value, depth); });
      if (count != 1) say(place, fmt::format("matches {} of oneOf, not one", count));
    }
    if (const Json* never = find(schema, "not"); never != nullptr && fits(*never, value, depth)) say(place, "matches what it must not");
    if (const Json* condition = find(schema, "if")) {
      const Json* then = find(schema, fits(*condition, value, depth) ? "then" : "else");
      if (then != nullptr) check(*then, value, place, depth + 1);
    }
  }

  void text(const Json& schema, const std::string& value, const std::string& place) {
    const std::u32string characters = code_points(value);
    if (const Json* least = find(schema, "minLength"); least != nullptr && least->is_number() && static_cast<double>(characters.size()) < least->get<double>()) say(place, "is too short");
    if (const Json* most = find(schema, "maxLength"); most != nullptr && most->is_number() && static_cast<double>(characters.size()) > most->get<double>()) say(place, "is too long");
    if (const Json* pattern = find(schema, "pattern"); pattern != nullptr && pattern->is_string()) {
      const auto parsed = parse_pattern(pattern->get_ref<const std::string&>());
      if (parsed && !matches(*parsed, characters)) say(place, fmt::format("does not match the pattern {}", pattern->get_ref<const std::string&>()));
    }
    if (const Json* format = find(schema, "format"); format != nullptr && format->is_string()) {
      const std::string_view source = pattern_of_format(format->get_ref<const std::string&>());
      if (source.empty()) return;
      const auto parsed = parse_pattern(source);
      const bool leap_day = value.find("-02-29") != std::string::npos;
      if (parsed && !leap_day && !matches(*parsed, characters)) say(place, fmt::format("is no {}", format->get_ref<const std::string&>()));
    }
  }

  void number(const Json& schema, double value, const std::string& place) {
    const auto bound = [&](const char* word) {
      const Json* found = find(schema, word);
      return found != nullptr && found->is_number() ? found->get<double>() : std::nan("");
    };
    const auto flag = [&](const char* word) {
      const Json* found = find(schema, word);
      return found != nullptr && *found == true;
    };
    if (const double low = bound("minimum"); value < low || (value == low && flag("exclusiveMinimum"))) say(place, fmt::format("{} is below {}", value, low));
    if (const double high = bound("maximum"); value > high || (value == high && flag("exclusiveMaximum"))) say(place, fmt::format("{} is above {}", value, high));
    if (const double low = bound("exclusiveMinimum"); value <= low) say(place, fmt::format("{} is not above {}", value, low));
    if (const double high = bound("exclusiveMaximum"); value >= high) say(place, fmt::format("{} is not below {}", value, high));
    if (const double step = bound("multipleOf"); step > 0) {
      const double times = value / step;
      if (std::abs(times - std::round(times)) > 1e-9 * std::max(1.0, std::abs(times))) say(place, fmt::format("{} is no multiple of {}", value, step));
    }
  }

  void array(const Json& schema, const Json& value, const std::string& place, int depth) {
    const auto size = static_cast<double>(value.size());
    if (const Json* least = find(schema, "minItems"); least != nullptr && least->is_number() && size < least->get<double>()) say(place, "has too few items");
    if (const Json* most = find(schema, "maxItems"); most != nullptr && most->is_number() && size > most->get<double>()) say(place, "has too many items");
    const Json* items = find(schema, "items");
    const Json* first = find(schema, "prefixItems");
    if (first == nullptr && items != nullptr && items->is_array()) first = items, items = find(schema, "additionalItems");
    for (std::size_t i = 0; i < value.size() && found_.size() < most_; ++i) {
      const Json* rule = first != nullptr && first->is_array() && i < first->size() ? &(*first)[i] : items;
      if (rule != nullptr) check(*rule, value[i], fmt::format("{}[{}]", place, i), depth + 1);
    }
    if (const Json* unique = find(schema, "uniqueItems"); unique != nullptr && *unique == true) {
      for (std::size_t i = 0; i < value.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
          if (++steps_ > kStepsMax) return say(place, "is too much to check");
          if (equal(value[i], value[j])) return say(place, fmt::format("items {} and {} are equal", j, i));
        }
      }
    }
    if (const Json* wanted = find(schema, "contains")) {
      const auto count = static_cast<double>(std::ranges::count_if(value, [&](const Json& item) { return fits(*wanted, item, depth); }));
      const Json* least = find(schema, "minContains");
      const Json* most = find(schema, "maxContains");
      if (count < (least != nullptr && least->is_number() ? least->get<double>() : 1)) say(place, "contains too few of what it must");
      if (most != nullptr && most->is_number() && count > most->get<double>()) say(place, "contains too many of what it may");
    }
  }

  void object(const Json& schema, const Json& value, const std::string& place, int depth) {
    const auto size = static_cast<double>(value.size());
    if (const Json* least = find(schema, "minProperties"); least != nullptr && least->is_number() && size < least->get<double>()) say(place, "has too few properties");
    if (const Json* most = find(schema, "maxProperties"); most != nullptr && most->is_number() && size > most->get<double>()) say(place, "has too many properties");
    if (const Json* required = find(schema, "required"); required != nullptr && required->is_array()) {
      for (const Json& name : *required) {
        if (name.is_string() && !value.contains(name.get_ref<const std::string&>())) say(place, fmt::format("lacks {}", name.dump(-1, ' ', false, Json::error_handler_t::replace)));
      }
    }
    const Json* properties = find(schema, "properties");
    const Json* by_pattern = find(schema, "patternProperties");
    const Json* more = find(schema, "additionalProperties");
    const Json* names = find(schema, "propertyNames");
    for (const auto& [name, member] : value.items()) {
      if (found_.size() >= most_) return;
      const std::string inside = place.empty() ? name : place + "." + name;
      bool known = false;
      if (properties != nullptr && properties->is_object()) {
        if (const Json* rule = find(*properties, name.c_str())) {
          known = true;
          check(*rule, member, inside, depth + 1);
        }
      }
      if (by_pattern != nullptr && by_pattern->is_object()) {
        for (const auto& [source, rule] : by_pattern->items()) {
          const auto parsed = parse_pattern(source);
          if (!parsed || !matches(*parsed, code_points(name))) continue;
          known = true;
          check(rule, member, inside, depth + 1);
        }
      }
      if (!known && more != nullptr) check(*more, member, inside, depth + 1);
      if (names != nullptr) check(*names, Json(name), inside, depth + 1);
    }
    if (const Json* dependent = find(schema, "dependentRequired"); dependent != nullptr && dependent->is_object()) {
      for (const auto& [name, needs] : dependent->items()) {
        if (!value.contains(name) || !needs.is_array()) continue;
        for (const Json& need : needs) {
          if (need.is_string() && !value.contains(need.get_ref<const std::string&>())) say(place, fmt::format("has {} but lacks {}", name, need.get_ref<const std::string&>()));
        }
      }
    }
  }

  const Json& root_;
  std::size_t most_;
  std::vector<std::string> found_;
  std::size_t steps_ = 0;
};

}  // namespace

std::vector<std::string> schema_violations(const Json& root, const Json& schema, const Json& value, std::size_t most) {
  Checker checker(root, most);
  checker.check(schema, value, "", 0);
  return checker.take();
}

Result<std::vector<std::string>> json_schema_check(std::string_view schema, std::string_view value) {
  const Json rules = Json::parse(schema, nullptr, false);
  if (rules.is_discarded()) return Error{ErrorCode::invalid_argument, "the schema is not JSON"};
  const Json parsed = Json::parse(value, nullptr, false);
  if (parsed.is_discarded()) return Error{ErrorCode::invalid_argument, "the value is not JSON"};
  return schema_violations(rules, rules, parsed);
}

}  // namespace pensieve
