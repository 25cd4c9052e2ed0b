// Mistral's models, in both of their spellings:
//
//   [TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Oslo"}, "id": "abcdefghi"}]
//   [TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{"city": "Oslo"}[TOOL_CALLS]...
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kOpen = "[TOOL_CALLS]";
constexpr std::string_view kArgs = "[ARGS]";
constexpr std::string_view kId = "[CALL_ID]";
constexpr std::string_view kOpeners[] = {kOpen};
constexpr std::string_view kMarks[] = {kOpen, kArgs, kId};

class Mistral final : public ToolSyntax {
 public:
  const char* name() const override { return "mistral"; }
  bool recognised_in(std::string_view chat_template) const override { return chat_template.find(kOpen) != std::string_view::npos; }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return "]}"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    const std::size_t at = skip_space(text, kOpen.size());
    if (at == text.size()) return wait();
    std::size_t end = 0;
    if (text[at] == '[' || text[at] == '{') {
      if (const State state = skip_json(text, at, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
      auto calls = calls_of(text.substr(at, end - at));
      return calls ? complete(end, *std::move(calls)) : malformed();
    }
    ParsedCall call;
    std::size_t begin = at;
    while (begin < text.size() && good_name(text.substr(begin, 1))) ++begin;
    call.name = text.substr(at, begin - at);
    if (!call.name.empty() && !good_name(call.name)) return malformed();
    if (begin == text.size()) return wait();
    if (call.name.empty()) return malformed();
    // [CALL_ID]abcdefghi and [ARGS], each of which may be missing.
    for (const std::string_view mark : {kId, kArgs}) {
      const State state = word_at(text, begin, mark);
      if (state == State::incomplete) return wait();
      if (state == State::malformed) continue;
      begin += mark.size();
      if (mark == kId) while (begin < text.size() && good_name(text.substr(begin, 1))) ++begin;
    }
    begin = skip_space(text, begin);
    if (begin == text.size()) return wait();
    if (const State state = skip_json(text, begin, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
    auto input = object_text(text.substr(begin, end - begin));
    if (!input) return malformed();
    call.input = *std::move(input);
    return complete(end, {std::move(call)});
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"[TOOL_CALLS][{\"name\": \"", "\", \"arguments\": ", "}]"}; }
};

}  // namespace

const ToolSyntax& mistral_syntax() {
  static const Mistral syntax;
  return syntax;
}

}  // namespace pensieve
