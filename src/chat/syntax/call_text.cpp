#include "chat/syntax/call_text.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>

#include "base/json_nesting.h"

namespace pensieve {

using Json = nlohmann::ordered_json;

namespace {

// dump() recurses: what a model nests deeper than this is no call.
constexpr int kDepthMax = 100;

Json parse_bounded(std::string_view text) {
  return json_nesting(text) > kDepthMax ? Json(Json::value_t::discarded) : Json::parse(text, nullptr, false);
}

// Models write line breaks and tabs into strings as they are.
std::string with_controls_escaped(std::string_view text) {
  std::string fixed;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\' && i + 1 < text.size()) {
      fixed += c;
      fixed += text[++i];
      continue;
    }
    if (c == '"') in_string = !in_string;
    if (!in_string || static_cast<unsigned char>(c) >= 0x20) fixed += c;
    else if (c == '\n') fixed += "\\n";
    else if (c == '\t') fixed += "\\t";
    else if (c == '\r') fixed += "\\r";
  }
  return fixed;
}

Json parse_tolerant(std::string_view text) {
  Json json = parse_bounded(text);
  return json.is_discarded() ? parse_bounded(with_controls_escaped(text)) : json;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::optional<std::string> object_text_of(const Json& value) {
  if (value.is_object()) return dump(value);
  if (value.is_null()) return "{}";
  if (!value.is_string()) return std::nullopt;
  const std::string& inner = value.get_ref<const std::string&>();
  if (inner.empty()) return "{}";
  const Json parsed = parse_tolerant(inner);
  return parsed.is_object() ? std::optional(dump(parsed)) : std::nullopt;
}

std::optional<ParsedCall> call_of_value(const Json& object) {
  if (!object.is_object()) return std::nullopt;
  // {"type": "function", "function": {...}} holds the call inside.
  if (const auto inner = object.find("function"); inner != object.end() && inner->is_object()) return call_of_value(*inner);
  ParsedCall call;
  for (const char* key : {"name", "function", "tool_name", "tool"}) {
    const auto found = object.find(key);
    if (found == object.end() || !found->is_string()) continue;
    call.name = found->get<std::string>();
    break;
  }
  if (call.name.starts_with("functions.")) call.name.erase(0, 10);
  if (!call_text::good_name(call.name)) return std::nullopt;
  call.input = "{}";
  for (const char* key : {"arguments", "parameters", "args", "input"}) {
    const auto found = object.find(key);
    if (found == object.end()) continue;
    auto input = object_text_of(*found);
    if (!input) return std::nullopt;
    call.input = *std::move(input);
    break;
  }
  return call;
}

}  // namespace

// ---- ToolTable ----

ToolTable::ToolTable(const std::vector<Tool>& tools) {
  for (const Tool& tool : tools) {
    auto& parameters = types_[tool.name];
    const Json schema = parse_bounded(tool.input_schema);
    if (!schema.is_object() || !schema.contains("properties") || !schema["properties"].is_object()) continue;
    for (const auto& [key, property] : schema["properties"].items()) {
      if (!property.is_object()) continue;
      const auto type = property.find("type");
      bool text = true;  // Without a type (or with an unusual one): as it stands, if it is no JSON value of another kind.
      if (type == property.end()) text = !property.contains("anyOf") && !property.contains("oneOf") && !property.contains("$ref");
      else if (type->is_string()) text = *type == "string";
      else if (type->is_array()) text = std::ranges::all_of(*type, [](const Json& one) { return one == "string" || one == "null"; });
      parameters[key] = text;
    }
  }
}

bool ToolTable::is_text(std::string_view tool, std::string_view parameter) const {
  const auto types = types_.find(tool);
  if (types == types_.end()) return false;  // Unknown: a number stays a number.
  const auto type = types->second.find(parameter);
  return type != types->second.end() && type->second;
}

namespace call_text {

std::size_t skip_space(std::string_view text, std::size_t at) {
  while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])) != 0) ++at;
  return at;
}

State word_at(std::string_view text, std::size_t at, std::string_view word) {
  const std::string_view rest = text.substr(std::min(at, text.size()));
  if (rest.starts_with(word)) return State::complete;
  return word.starts_with(rest) ? State::incomplete : State::malformed;
}

std::size_t end_of_value(std::string_view text, std::size_t at, std::string_view close, std::span<const std::string_view> followers, bool ended) {
  while ((at = text.find(close, at)) != std::string_view::npos) {
    const std::size_t after = skip_space(text, at + close.size());
    for (const std::string_view next : followers) {
      const State state = word_at(text, after, next);
      if (state == State::complete) return at;
      if (state == State::incomplete && !ended) return std::string_view::npos;
    }
    ++at;
  }
  return at;
}

State skip_json(std::string_view text, std::size_t at, std::size_t& end) {
  if (at >= text.size()) return State::incomplete;
  if (text[at] != '{' && text[at] != '[') return State::malformed;
  std::string open;
  bool in_string = false;
  for (std::size_t i = at; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      open.push_back(c == '{' ? '}' : ']');
      if (open.size() > static_cast<std::size_t>(kDepthMax)) return State::malformed;
    } else if (c == '}' || c == ']') {
      if (open.back() != c) return State::malformed;
      open.pop_back();
      if (open.empty()) {
        end = i + 1;
        return State::complete;
      }
    }
  }
  return State::incomplete;
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 128 &&
         std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; });
}

std::optional<std::string> object_text(std::string_view text) {
  if (skip_space(text, 0) == text.size()) return "{}";
  const Json json = parse_tolerant(text);
  return json.is_discarded() ? std::nullopt : object_text_of(json);
}

std::optional<ParsedCall> call_of(std::string_view json_object) { return call_of_value(parse_tolerant(json_object)); }

std::optional<std::vector<ParsedCall>> calls_of(std::string_view json) {
  const Json value = parse_tolerant(json);
  std::vector<ParsedCall> calls;
  if (value.is_object()) {
    auto call = call_of_value(value);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
    return calls;
  }
  if (!value.is_array() || value.empty()) return std::nullopt;
  for (const Json& element : value) {
    auto call = call_of_value(element);
    if (!call) return std::nullopt;
    calls.push_back(*std::move(call));
  }
  return calls;
}

struct InputBuilder::Object {
  Json json = Json::object();
};
InputBuilder::InputBuilder() : object_(std::make_unique<Object>()) {}
InputBuilder::~InputBuilder() = default;

void InputBuilder::add(std::string_view key, std::string_view value, bool is_text) {
  Json& at = object_->json[std::string(key)];
  if (!is_text) {
    if (Json parsed = parse_bounded(value); !parsed.is_discarded()) {
      at = std::move(parsed);
      return;
    }
    // As Python spells them.
    for (const auto& [word, meaning] : {std::pair{"True", Json(true)}, std::pair{"False", Json(false)}, std::pair{"None", Json()}}) {
      if (value == word) {
        at = meaning;
        return;
      }
    }
  }
  at = std::string(value);
}

std::string InputBuilder::text() const { return dump(object_->json); }

std::string quoted(std::string_view text) { return dump(Json(std::string(text))); }

namespace {

// A literal of Python: text, number, True, False, None, [list], {dict}, (tuple).
State python_value(std::string_view text, std::size_t at, std::size_t& end, Json& value, int depth) {
  if (depth > kDepthMax) return State::malformed;
  at = skip_space(text, at);
  if (at >= text.size()) return State::incomplete;
  const char c = text[at];
  if (c == '"' || c == '\'') {
    const bool triple = text.substr(at, 3) == std::string(3, c);
    if (!triple && word_at(text, at, std::string(3, c)) == State::incomplete && text.size() - at == 2) return State::incomplete;
    const std::string close(triple ? 3 : 1, c);
    std::string words;
    for (std::size_t i = at + close.size(); i < text.size(); ++i) {
      if (text.substr(i).starts_with(close)) {
        end = i + close.size();
        value = words;
        return State::complete;
      }
      if (text[i] != '\\' || i + 1 >= text.size()) {
        words += text[i];
        continue;
      }
      const char escaped = text[++i];
      constexpr std::array<std::pair<char, char>, 4> kEscapes = {{{'n', '\n'}, {'t', '\t'}, {'r', '\r'}, {'0', '\0'}}};
      const auto known = std::ranges::find(kEscapes, escaped, &std::pair<char, char>::first);
      if (known != kEscapes.end()) words += known->second;
      else if (escaped == '\\' || escaped == '"' || escaped == '\'') words += escaped;
      else (words += '\\') += escaped;
    }
    return State::incomplete;
  }
  if (c == '[' || c == '(' || c == '{') {
    const char close = c == '[' ? ']' : c == '(' ? ')' : '}';
    value = c == '{' ? Json::object() : Json::array();
    std::size_t i = skip_space(text, at + 1);
    while (i < text.size() && text[i] != close) {
      Json element;
      if (const State state = python_value(text, i, i, element, depth + 1); state != State::complete) return state;
      i = skip_space(text, i);
      if (c == '{') {
        if (i >= text.size()) return State::incomplete;
        if (text[i] != ':' || !element.is_string()) return State::malformed;
        Json held;
        if (const State state = python_value(text, i + 1, i, held, depth + 1); state != State::complete) return state;
        value[element.get<std::string>()] = std::move(held);
        i = skip_space(text, i);
      } else {
        value.push_back(std::move(element));
      }
      if (i < text.size() && text[i] == ',') i = skip_space(text, i + 1);
      else if (i < text.size() && text[i] != close) return State::malformed;
    }
    if (i >= text.size()) return State::incomplete;
    end = i + 1;
    return State::complete;
  }
  std::size_t i = at;
  while (i < text.size() && (std::isalnum(static_cast<unsigned char>(text[i])) != 0 || std::string_view("+-._").find(text[i]) != std::string_view::npos)) ++i;
  if (i == text.size()) return State::incomplete;
  const std::string word(text.substr(at, i - at));
  end = i;
  if (word == "True" || word == "true") value = true;
  else if (word == "False" || word == "false") value = false;
  else if (word == "None" || word == "null") value = nullptr;
  else {
    value = Json::parse(word, nullptr, false);
    if (!value.is_number()) return State::malformed;
  }
  return State::complete;
}

}  // namespace

State python_call(std::string_view text, std::size_t at, std::size_t& end, ParsedCall& call) {
  std::size_t i = at;
  const auto in_name = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-' || c == '.'; };
  while (i < text.size() && in_name(text[i])) ++i;
  if (i == text.size()) return State::incomplete;
  std::string name(text.substr(at, i - at));
  if (name.ends_with(".call")) name.resize(name.size() - 5);
  if (text[i] != '(' || !good_name(name)) return State::malformed;
  Json input = Json::object();
  i = skip_space(text, i + 1);
  while (i < text.size() && text[i] != ')') {
    const std::size_t key_begin = i;
    while (i < text.size() && in_name(text[i])) ++i;
    const std::string key(text.substr(key_begin, i - key_begin));
    i = skip_space(text, i);
    if (i >= text.size()) return State::incomplete;
    if (text[i] != '=' || key.empty()) return State::malformed;
    Json value;
    if (const State state = python_value(text, i + 1, i, value, 0); state != State::complete) return state;
    input[key] = std::move(value);
    i = skip_space(text, i);
    if (i < text.size() && text[i] == ',') i = skip_space(text, i + 1);
    else if (i < text.size() && text[i] != ')') return State::malformed;
  }
  if (i >= text.size()) return State::incomplete;
  end = i + 1;
  call = {std::move(name), dump(input)};
  return State::complete;
}

}  // namespace call_text
}  // namespace pensieve
