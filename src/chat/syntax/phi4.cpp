// Phi-4-mini: a list of calls between two marks.
//
//   <|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]<|/tool_call|>
//
// Its template takes the tools from the system message (chat_template.cpp).
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "<|tool_call|>";
constexpr std::string_view kClose = "<|/tool_call|>";
constexpr std::string_view kFunctools = "functools[";
constexpr std::string_view kOpeners[] = {kOpen, kFunctools};
constexpr std::string_view kMarks[] = {kOpen, kClose};

class Phi4 final : public ToolSyntax {
 public:
  const char* name() const override { return "phi4"; }
  bool recognised_in(std::string_view chat_template) const override {
    return chat_template.find("<|/tool_call|>") != std::string_view::npos || chat_template.find("<|/tool|>") != std::string_view::npos;
  }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return "]}>"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    const bool functools = text.starts_with(kFunctools);
    const std::size_t at = functools ? kFunctools.size() - 1 : skip_space(text, kOpen.size());
    if (at == text.size()) return wait();
    std::size_t end = 0;
    if (const State state = skip_json(text, at, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
    auto calls = calls_of(text.substr(at, end - at));
    if (!calls) return malformed();
    if (functools) return complete(end, *std::move(calls));
    const std::size_t after = skip_space(text, end);
    const State closed = word_at(text, after, kClose);
    if (closed == State::incomplete && !ended) return incomplete();
    return complete(closed == State::complete ? after + kClose.size() : end, *std::move(calls));
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"<|tool_call|>[{\"name\": \"", "\", \"arguments\": ", "}]<|/tool_call|>"}; }

  std::string write(const std::vector<ParsedCall>& calls) const override {
    std::string text(kOpen);
    for (const ParsedCall& call : calls) {
      text += (&call == &calls.front() ? "[" : ", ") + ("{\"name\": " + quoted(call.name)) + ", \"arguments\": " + call.input + "}";
    }
    return text + "]" + std::string(kClose);
  }
};

}  // namespace

const ToolSyntax& phi4_syntax() {
  static const Phi4 syntax;
  return syntax;
}

}  // namespace pensieve
