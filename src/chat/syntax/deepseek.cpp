// DeepSeek: V3 and R1 fence the arguments, V3.1 and later do not. Marks are written
// with full-width bars and small squares.
//
//   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather
//   ```json
//   {"city": "Oslo"}
//   ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
//
//   <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Oslo"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>
#include <algorithm>

#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kGroup = "<｜tool▁calls▁begin｜>";
constexpr std::string_view kGroupClose = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCall = "<｜tool▁call▁begin｜>";
constexpr std::string_view kCallClose = "<｜tool▁call▁end｜>";
constexpr std::string_view kSep = "<｜tool▁sep｜>";
constexpr std::size_t kBetweenMax = 300;  // Bytes between two marks; more is no call.
constexpr std::string_view kOpeners[] = {kGroup, kCall};
constexpr std::string_view kMarks[] = {kGroup, kGroupClose, kCall, kCallClose, kSep};

class DeepSeek final : public ToolSyntax {
 public:
  const char* name() const override { return "deepseek"; }
  bool recognised_in(std::string_view chat_template) const override { return chat_template.find("<｜tool▁call") != std::string_view::npos; }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return ">}"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    std::vector<ParsedCall> calls;
    std::size_t at = text.starts_with(kGroup) ? skip_space(text, kGroup.size()) : 0;
    while (true) {
      at = skip_space(text, at);
      const State group_closed = word_at(text, at, kGroupClose);
      if (group_closed == State::complete) return calls.empty() ? malformed() : complete(at + kGroupClose.size(), std::move(calls));
      const State begun = word_at(text, at, kCall);
      if (begun != State::complete) {
        const bool may_come = begun == State::incomplete || group_closed == State::incomplete;
        if (may_come && !ended) return incomplete();
        return calls.empty() ? malformed() : complete(at, std::move(calls));
      }
      at += kCall.size();
      const std::size_t sep = text.find(kSep, at);
      if (std::min(sep, text.size()) - at > kBetweenMax) return malformed();
      if (sep == std::string_view::npos) return wait();
      ParsedCall call;
      call.name = trimmed(text.substr(at, sep - at));
      at = sep + kSep.size();
      const std::size_t begin = text.find('{', at);
      if (std::min(begin, text.size()) - at > kBetweenMax) return malformed();
      if (begin == std::string_view::npos) return wait();
      std::string_view between = text.substr(at, begin - at);
      if (call.name == "function" && !between.empty()) call.name = trimmed(between.substr(0, between.find("```")));
      if (!good_name(call.name)) return malformed();
      std::size_t end = 0;
      if (const State state = skip_json(text, begin, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
      auto input = object_text(text.substr(begin, end - begin));
      if (!input) return malformed();
      call.input = *std::move(input);
      calls.push_back(std::move(call));
      at = skip_space(text, end);
      if (const State fence = word_at(text, at, "```"); fence == State::complete) at = skip_space(text, at + 3);
      else if (fence == State::incomplete && at < text.size()) return wait();
      const State closed = word_at(text, at, kCallClose);
      if (closed == State::complete) at += kCallClose.size();
      else if (closed == State::malformed) return malformed();
      else if (!ended) return incomplete();
      else return complete(text.size(), std::move(calls));
    }
  }

  std::optional<CallShape> json_shape() const override { return CallShape{std::string(kGroup) + std::string(kCall), std::string(kSep), std::string(kCallClose) + std::string(kGroupClose)}; }

 private:
  static std::string trimmed(std::string_view text) {
    text.remove_prefix(skip_space(text, 0));
    while (!text.empty() && skip_space(text, text.size() - 1) == text.size()) text.remove_suffix(1);
    return std::string(text);
  }
};

}  // namespace

const ToolSyntax& deepseek_syntax() {
  static const DeepSeek syntax;
  return syntax;
}

}  // namespace pensieve
