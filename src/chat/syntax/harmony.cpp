// gpt-oss: the whole answer is messages, each with a channel (answer_parser.cpp splits
// them). A call is a message to a function:
//
//   <|channel|>analysis<|message|>I look it up.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather
//   <|constrain|>json<|message|>{"city": "Oslo"}<|call|>
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kChannel = "<|channel|>";
constexpr std::string_view kStart = "<|start|>";
constexpr std::string_view kMessage = "<|message|>";
constexpr std::string_view kCall = "<|call|>";
constexpr std::string_view kTo = "to=functions.";
constexpr std::string_view kOpeners[] = {kChannel, kStart};
constexpr std::string_view kMarks[] = {kChannel, kStart, kMessage, kCall, "<|constrain|>", "<|end|>"};

class Harmony final : public ToolSyntax {
 public:
  const char* name() const override { return "harmony"; }
  bool recognised_in(std::string_view chat_template) const override { return chat_template.find(kChannel) != std::string_view::npos; }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return "}>"; }

  // `text` begins with the header of a message that is addressed to a function.
  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    const std::size_t message = text.find(kMessage);
    if (message == std::string_view::npos) return wait();
    const std::size_t to = text.substr(0, message).find(kTo);
    if (to == std::string_view::npos) return malformed();
    ParsedCall call;
    const std::string_view name = text.substr(to + kTo.size(), message - to - kTo.size());
    call.name = name.substr(0, name.find_first_of(" <\n"));
    if (!good_name(call.name)) return malformed();
    const std::size_t begin = skip_space(text, message + kMessage.size());
    if (begin == text.size()) return wait();
    std::size_t end = 0;
    if (const State state = skip_json(text, begin, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
    auto input = object_text(text.substr(begin, end - begin));
    if (!input) return malformed();
    call.input = *std::move(input);
    const std::size_t after = skip_space(text, end);
    const State closed = word_at(text, after, kCall);
    if (closed == State::incomplete && !ended) return incomplete();
    return complete(closed == State::complete ? after + kCall.size() : end, {std::move(call)});
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"<|channel|>commentary to=functions.", " <|constrain|>json<|message|>", ""}; }
};

}  // namespace

const ToolSyntax& harmony_syntax() {
  static const Harmony syntax;
  return syntax;
}

}  // namespace pensieve
