// Qwen3-Coder and its kin. Values stand as they are; their types come from the schema:
//
//   <tool_call>
//   <function=write_file>
//   <parameter=path>
//   a.txt
//   </parameter>
//   </function>
//   </tool_call>
//
// The outer mark is sometimes left out.
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "<tool_call>";
constexpr std::string_view kClose = "</tool_call>";
constexpr std::string_view kFunction = "<function=";
constexpr std::string_view kFunctionClose = "</function>";
constexpr std::string_view kParameter = "<parameter=";
constexpr std::string_view kParameterClose = "</parameter>";
constexpr std::string_view kOpeners[] = {kOpen, kFunction};
constexpr std::string_view kMarks[] = {kOpen, kClose};
constexpr std::string_view kFollowers[] = {kParameter, kFunctionClose};  // Of a value.

class QwenXml final : public ToolSyntax {
 public:
  const char* name() const override { return "qwen-xml"; }
  bool recognised_in(std::string_view chat_template) const override {
    return chat_template.find(kFunction) != std::string_view::npos && chat_template.find(kParameter) != std::string_view::npos;
  }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return ">"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable& tools) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    std::size_t at = text.starts_with(kOpen) ? skip_space(text, kOpen.size()) : 0;
    if (const State state = word_at(text, at, kFunction); state != State::complete) return state == State::incomplete ? wait() : malformed();
    at += kFunction.size();
    const std::size_t name_end = text.find('>', at);
    if (name_end == std::string_view::npos) return text.size() - at > 128 ? malformed() : wait();
    ParsedCall call;
    call.name = text.substr(at, name_end - at);
    if (!good_name(call.name)) return malformed();
    InputBuilder input;
    at = name_end + 1;
    while (true) {
      at = skip_space(text, at);
      const State closed = word_at(text, at, kFunctionClose);
      if (closed == State::complete) {
        at += kFunctionClose.size();
        break;
      }
      const State parameter = word_at(text, at, kParameter);
      if (parameter == State::malformed) return closed == State::incomplete ? wait() : malformed();
      if (parameter == State::incomplete) return wait();
      at += kParameter.size();
      const std::size_t key_end = text.find('>', at);
      if (key_end == std::string_view::npos) return wait();
      const std::string_view key = text.substr(at, key_end - at);
      const std::size_t value_end = end_of_value(text, key_end + 1, kParameterClose, kFollowers, ended);
      if (value_end == std::string_view::npos) return wait();
      std::string_view value = text.substr(key_end + 1, value_end - key_end - 1);
      if (value.starts_with('\n')) value.remove_prefix(1);
      if (value.ends_with('\n')) value.remove_suffix(1);
      input.add(key, value, tools.is_text(call.name, key));
      at = value_end + kParameterClose.size();
    }
    call.input = input.text();
    const std::size_t after = skip_space(text, at);
    const State outer = word_at(text, after, kClose);
    if (outer == State::complete) return complete(after + kClose.size(), {std::move(call)});
    if (outer == State::incomplete && !ended) return incomplete();
    return complete(at, {std::move(call)});
  }

  std::optional<ArgumentsShape> arguments_shape() const override {
    return ArgumentsShape{"<tool_call>\n<function=", ">\n", "<parameter=", ">\n", "\n</parameter>\n", "", "", "", std::string(kParameterClose), "</function>\n</tool_call>"};
  }
  std::string head(std::string_view tool) const override {
    return tool.empty() ? "<tool_call>\n<function=" : "<tool_call>\n<function=" + std::string(tool) + ">\n";
  }
};

}  // namespace

const ToolSyntax& qwen_xml_syntax() {
  static const QwenXml syntax;
  return syntax;
}

}  // namespace pensieve
