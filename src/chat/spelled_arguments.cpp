#include "chat/spelled_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <vector>

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFreeKey = "[a-zA-Z0-9_-]{1,64}";

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// A character of a rule's class.
std::string in_class(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 ? std::string(1, c) : fmt::format("\\x{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c))); }

// All texts without `mark` in them: one rule for each part of it that may just have been
// said (Knuth, Morris, Pratt; the mark's first character stands in it once, so that a part
// which does not go on is either begun anew or nothing).
std::string add_text(GrammarBuilder& builder, std::string_view mark) {
  for (std::size_t said = 0; said < mark.size(); ++said) {
    const std::string first = in_class(mark[0]);
    const std::string next = in_class(mark[said]);
    std::string body;
    if (said + 1 < mark.size()) body = fmt::format("[{}] text-{} | ", next, said + 1);
    if (said > 0) body += fmt::format("[{}] text-1 | [^{}{}] text-0 | ", first, first, next);
    else body += fmt::format("[^{}] text-0 | ", first);
    builder.add_rule(fmt::format("text-{}", said), body + "\"\"");
  }
  return "text-0";
}

bool can_be_named(std::string_view key) {
  return !key.empty() && key.size() <= 128 && std::ranges::all_of(key, [](unsigned char c) { return std::isalnum(c) != 0 || std::string_view("_-.$").find(static_cast<char>(c)) != std::string_view::npos; });
}

// Adds the rules of one tool.
class Arguments {
 public:
  Arguments(GrammarBuilder& builder, const Tool& tool, std::size_t index, const ArgumentsShape& shape, bool insist)
      : builder_(builder), tool_(tool), shape_(shape), types_(std::vector<Tool>{tool}), insist_(insist), place_(fmt::format("tools.{}.input_schema", index)), prefix_(fmt::format("tool-{}", index)) {}

  Result<std::string> add() {
    schema_ = Json::parse(tool_.input_schema, nullptr, false);
    if (insist_) {
      // Looked at as a whole, so that a bad one is told of here as it is elsewhere.
      if (auto whole = GrammarBuilder().add_schema(tool_.input_schema, place_); !whole) return whole;
    }
    if (!schema_.is_object() || !has_plain_properties()) return free_arguments();
    const auto properties = schema_.find("properties");
    if (properties == schema_.end() || !properties->is_object() || properties->empty()) {
      const auto more = schema_.find("additionalProperties");
      if (more != schema_.end() && *more == false) return named(GrammarBuilder::literal(shape_.end));
      return free_arguments();
    }
    std::vector<std::string> values;
    for (const auto& [key, property] : properties->items()) {
      if (!can_be_named(key)) return free_arguments();
      auto value = value_of(key, property, values.size());
      if (!value) return value;
      values.push_back(GrammarBuilder::literal(shape_.before_key + key + shape_.after_key) + " " + *value + " " + GrammarBuilder::literal(shape_.after_value));
      required_.push_back(is_required(key));
    }
    return in_order(values);
  }

 private:
  std::string named(std::string_view body) {
    builder_.add_rule(prefix_, body);
    return prefix_;
  }

  // Nothing beside properties that could forbid what they allow.
  bool has_plain_properties() const {
    return std::ranges::none_of(std::initializer_list<const char*>{"$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties"}, [this](const char* word) { return schema_.contains(word); });
  }

  bool is_required(const std::string& key) const {
    const auto list = schema_.find("required");
    return list != schema_.end() && list->is_array() && std::ranges::find(*list, Json(key)) != list->end();
  }

  // The rest from each argument on, with one before it or none: only the first has no mark before it.
  Result<std::string> in_order(const std::vector<std::string>& values) {
    const auto rest = [&](std::size_t i, bool any) { return fmt::format("{}-{}{}", prefix_, any ? "rest" : "first", i); };
    const std::string between = shape_.between.empty() ? "" : GrammarBuilder::literal(shape_.between) + " ";
    for (const bool any : {false, true}) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::string with = (any ? between : "") + values[i] + " " + rest(i + 1, true);
        builder_.add_rule(rest(i, any), required_[i] ? with : with + " | " + rest(i + 1, any));
      }
      builder_.add_rule(rest(values.size(), any), GrammarBuilder::literal(shape_.end));
    }
    return rest(0, false);
  }

  // Keys and values as the model likes.
  Result<std::string> free_arguments() {
    if (tool_.strict) builder_.add_note(fmt::format("{}: is not enforced while generating", place_));
    const std::string one = GrammarBuilder::literal(shape_.before_key) + fmt::format(" {} ", kFreeKey) + GrammarBuilder::literal(shape_.after_key) + " " + text() + " " + GrammarBuilder::literal(shape_.after_value);
    builder_.add_rule(prefix_ + "-one", one);
    const std::string more = shape_.between.empty() ? prefix_ + "-one" : fmt::format("({} {}-one)", GrammarBuilder::literal(shape_.between), prefix_);
    return named(fmt::format("({}-one {}*)? {}", prefix_, more, GrammarBuilder::literal(shape_.end)));
  }

  std::string text() {
    if (!builder_.has_rule("text")) {
      const auto quote = [](const std::string& mark) { return mark.empty() ? std::string() : GrammarBuilder::literal(mark); };
      const std::string inner = add_text(builder_, shape_.never_in_text);
      builder_.add_rule("text", quote(shape_.text_open) + " " + inner + " " + quote(shape_.text_close));
    }
    return "text";
  }

  Result<std::string> value_of(const std::string& key, const Json& property, std::size_t number) {
    if (types_.is_text(tool_.name, key)) return text_of(key, property);
    Json whole = property.is_object() ? property : Json::object();
    for (const char* shared : {"$defs", "definitions"}) {
      if (const auto found = schema_.find(shared); found != schema_.end() && property.is_object()) whole[shared] = *found;
    }
    auto rule = builder_.add_schema(property.is_boolean() ? dump(property) : dump(whole), fmt::format("{}.properties.{}", place_, key));
    if (rule) return rule;
    // A reference to elsewhere in the whole, or a schema that nothing can be made of.
    if (insist_) builder_.add_note(fmt::format("{}.properties.{}: is not enforced while generating", place_, key));
    return builder_.add_schema("true", fmt::format("{}.any{}", place_, number));
  }

  // A list of values, or any text.
  Result<std::string> text_of(const std::string& key, const Json& property) {
    Json values = Json::array();
    if (const auto single = property.find("const"); single != property.end()) values.push_back(*single);
    else if (const auto list = property.find("enum"); list != property.end() && list->is_array()) values = *list;
    std::string ways;
    for (const Json& value : values) {
      const std::string spelled = value.is_string() ? value.get<std::string>() : dump(value);
      if (spelled.find(shape_.never_in_text) != std::string::npos) continue;
      ways += (ways.empty() ? "" : " | ") + GrammarBuilder::literal(shape_.text_open + spelled + shape_.text_close);
    }
    if (!ways.empty()) return "(" + ways + ")";
    for (const char* word : {"pattern", "format", "minLength", "maxLength"}) {
      if (property.contains(word)) builder_.add_note(fmt::format("{}.properties.{}: {} is not enforced while generating", place_, key, word));
    }
    return text();
  }

  GrammarBuilder& builder_;
  const Tool& tool_;
  const ArgumentsShape& shape_;
  const ToolTable types_;
  const bool insist_;
  const std::string place_;
  const std::string prefix_;
  Json schema_;
  std::vector<bool> required_;
};

}  // namespace

Result<std::string> add_spelled_arguments(GrammarBuilder& builder, const Tool& tool, std::size_t index, const ArgumentsShape& shape, bool insist) {
  return Arguments(builder, tool, index, shape, insist).add();
}

}  // namespace pensieve
