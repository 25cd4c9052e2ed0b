// Hermes, Qwen 2.5 and 3, Granite 4, many fine-tunes, and Pensieve's own demo:
//
//   <tool_call>
//   {"name": "get_weather", "arguments": {"city": "Oslo"}}
//   </tool_call>
//
// Some models leave the closing mark out before the end of the turn or before the
// next call. Also the syntax that models without one are taught in the prompt.
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "<tool_call>";
constexpr std::string_view kClose = "</tool_call>";
constexpr std::string_view kOpeners[] = {kOpen};
constexpr std::string_view kMarks[] = {kOpen, kClose};

class Hermes final : public ToolSyntax {
 public:
  const char* name() const override { return "hermes"; }
  bool recognised_in(std::string_view chat_template) const override { return chat_template.find(kOpen) != std::string_view::npos; }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return "}>"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const std::size_t begin = skip_space(text, kOpen.size());
    if (begin == text.size()) return ended ? malformed() : incomplete();
    std::size_t end = 0;
    const State body = skip_json(text, begin, end);
    if (body == State::malformed) return malformed();
    if (body == State::incomplete) return ended ? malformed() : incomplete();
    auto calls = calls_of(text.substr(begin, end - begin));
    if (!calls) return malformed();
    const std::size_t after = skip_space(text, end);
    switch (word_at(text, after, kClose)) {
      case State::complete: return complete(after + kClose.size(), *std::move(calls));
      case State::incomplete: return ended ? complete(text.size(), *std::move(calls)) : incomplete();
      case State::malformed: break;
    }
    // Another call follows at once, or words: the closing mark was forgotten.
    return complete(end, *std::move(calls));
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"<tool_call>\n{\"name\": \"", "\", \"arguments\": ", "}\n</tool_call>"}; }
};

}  // namespace

const ToolSyntax& hermes_syntax() {
  static const Hermes syntax;
  return syntax;
}

}  // namespace pensieve
