// Granite 3: a mark, then a list of calls to the end of the turn. (Granite 4 writes as Hermes.)
//
//   <|tool_call|>[{"name": "get_weather", "arguments": {"city": "Oslo"}}]
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "<|tool_call|>";
constexpr std::string_view kOpeners[] = {kOpen};

class Granite final : public ToolSyntax {
 public:
  const char* name() const override { return "granite"; }
  bool recognised_in(std::string_view chat_template) const override {
    const auto has = [&](std::string_view word) { return chat_template.find(word) != std::string_view::npos; };
    return has(kOpen) || (has("<|start_of_role|>") && !has("<tool_call>"));
  }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::string_view triggers() const override { return "]}"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const std::size_t at = skip_space(text, kOpen.size());
    std::size_t end = 0;
    const State state = skip_json(text, at, end);
    if (state == State::malformed || (state == State::incomplete && ended)) return malformed();
    if (state == State::incomplete) return incomplete();
    auto calls = calls_of(text.substr(at, end - at));
    return calls ? complete(end, *std::move(calls)) : malformed();
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"<|tool_call|>[{\"name\": \"", "\", \"arguments\": ", "}]"}; }
};

}  // namespace

const ToolSyntax& granite_syntax() {
  static const Granite syntax;
  return syntax;
}

}  // namespace pensieve
