// GLM 4.5 and later: a name, then keys and values in turn. Types come from the schema.
//
//   <tool_call>get_weather
//   <arg_key>city</arg_key>
//   <arg_value>Oslo</arg_value>
//   </tool_call>
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "<tool_call>";
constexpr std::string_view kClose = "</tool_call>";
constexpr std::string_view kKey = "<arg_key>";
constexpr std::string_view kKeyClose = "</arg_key>";
constexpr std::string_view kValue = "<arg_value>";
constexpr std::string_view kValueClose = "</arg_value>";
constexpr std::string_view kOpeners[] = {kOpen};
constexpr std::string_view kMarks[] = {kOpen, kClose, kKey, kKeyClose, kValue, kValueClose};
constexpr std::string_view kFollowers[] = {kKey, kClose};  // Of a value.

class Glm final : public ToolSyntax {
 public:
  const char* name() const override { return "glm"; }
  bool recognised_in(std::string_view chat_template) const override { return chat_template.find(kKey) != std::string_view::npos; }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return ">"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable& tools) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    std::size_t at = skip_space(text, kOpen.size());
    std::size_t name_end = at;
    while (name_end < text.size() && text[name_end] != '<' && text[name_end] != '\n') ++name_end;
    if (name_end == text.size()) return name_end - at > 128 ? malformed() : wait();
    ParsedCall call;
    std::string_view name = text.substr(at, name_end - at);
    while (name.ends_with(' ') || name.ends_with('\r')) name.remove_suffix(1);
    call.name = name;
    if (!good_name(call.name)) return malformed();
    InputBuilder input;
    at = name_end;
    while (true) {
      at = skip_space(text, at);
      const State closed = word_at(text, at, kClose);
      if (closed == State::complete) break;
      const State key = word_at(text, at, kKey);
      if (key == State::incomplete || (key == State::malformed && closed == State::incomplete)) return wait();
      if (key == State::malformed) return malformed();
      const std::size_t key_end = text.find(kKeyClose, at);
      if (key_end == std::string_view::npos) return wait();
      const std::string_view key_text = text.substr(at + kKey.size(), key_end - at - kKey.size());
      const std::size_t value = skip_space(text, key_end + kKeyClose.size());
      if (const State state = word_at(text, value, kValue); state != State::complete) return state == State::incomplete ? wait() : malformed();
      const std::size_t value_end = end_of_value(text, value + kValue.size(), kValueClose, kFollowers, ended);
      if (value_end == std::string_view::npos) return wait();
      input.add(key_text, text.substr(value + kValue.size(), value_end - value - kValue.size()), tools.is_text(call.name, key_text));
      at = value_end + kValueClose.size();
    }
    call.input = input.text();
    return complete(at + kClose.size(), {std::move(call)});
  }

  std::optional<ArgumentsShape> arguments_shape() const override {
    return ArgumentsShape{std::string(kOpen), "\n", "<arg_key>", "</arg_key>\n<arg_value>", "</arg_value>\n", "", "", "", std::string(kValueClose), std::string(kClose)};
  }
  std::string head(std::string_view tool) const override { return std::string(kOpen) + std::string(tool); }
};

}  // namespace

const ToolSyntax& glm_syntax() {
  static const Glm syntax;
  return syntax;
}

}  // namespace pensieve
