// Gemma: three spellings. Gemma 4 and FunctionGemma write bare keys and wrap texts
// in marks of their own; Gemma 3 is taught a fenced call in Python's spelling.
//
//   <|tool_call>call:get_weather{city:<|"|>Oslo<|"|>,days:3}<tool_call|>
//   <start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>
//   ```tool_code
//   get_weather(city="Oslo")
//   ```
#include <algorithm>
#include <cctype>

#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

struct Marks {
  std::string_view open, close, quote;
};
constexpr Marks kGemma4 = {"<|tool_call>", "<tool_call|>", "<|\"|>"};
constexpr Marks kFunctionGemma = {"<start_function_call>", "<end_function_call>", "<escape>"};
constexpr std::string_view kFence = "```tool_code";
constexpr std::string_view kFenceClose = "```";
constexpr std::string_view kCall = "call:";
constexpr std::string_view kOpeners[] = {kGemma4.open, kFunctionGemma.open, kFence};
constexpr std::string_view kMarks[] = {kGemma4.open, kGemma4.close, kGemma4.quote, kFunctionGemma.open, kFunctionGemma.close, kFunctionGemma.quote};
constexpr int kDepthMax = 50;

// Writes the value at `at` as JSON behind `json`.
State value_of(std::string_view text, std::size_t& at, const Marks& marks, std::string& json, int depth) {
  if (depth > kDepthMax) return State::malformed;
  at = skip_space(text, at);
  if (at == text.size()) return State::incomplete;
  const State quote = word_at(text, at, marks.quote);
  if (quote == State::incomplete) return State::incomplete;
  if (quote == State::complete) {
    const std::size_t begin = at + marks.quote.size();
    const std::size_t end = text.find(marks.quote, begin);
    if (end == std::string_view::npos) return State::incomplete;
    json += quoted(text.substr(begin, end - begin));
    at = end + marks.quote.size();
    return State::complete;
  }
  if (text[at] == '"') {
    const std::size_t begin = at++;
    while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
    if (at >= text.size()) return State::incomplete;
    json += text.substr(begin, ++at - begin);
    return State::complete;
  }
  if (text[at] == '{' || text[at] == '[') {
    const bool object = text[at] == '{';
    const char close = object ? '}' : ']';
    json += text[at++];
    for (bool first = true;; first = false) {
      at = skip_space(text, at);
      if (at == text.size()) return State::incomplete;
      if (text[at] == close) break;
      if (!first) {
        if (text[at++] != ',') return State::malformed;
        json += ',';
      }
      if (object) {
        at = skip_space(text, at);
        const State quoted_key = word_at(text, at, marks.quote);
        if (quoted_key == State::incomplete) return State::incomplete;
        if (quoted_key == State::complete || (at < text.size() && text[at] == '"')) {
          if (const State state = value_of(text, at, marks, json, depth + 1); state != State::complete) return state;
        } else {
          const std::size_t colon = text.find(':', at);
          if (colon == std::string_view::npos) return text.size() - at > 200 ? State::malformed : State::incomplete;
          json += quoted(text.substr(at, colon - at));
          at = colon;
        }
        at = skip_space(text, at);
        if (at == text.size()) return State::incomplete;
        if (text[at++] != ':') return State::malformed;
        json += ':';
      }
      if (const State state = value_of(text, at, marks, json, depth + 1); state != State::complete) return state;
    }
    json += text[at++];
    return State::complete;
  }
  const std::size_t begin = at;
  while (at < text.size() && std::string_view(",}]").find(text[at]) == std::string_view::npos) ++at;
  if (at == text.size()) return State::incomplete;
  const std::string_view word = text.substr(begin, at - begin);
  const bool literal = word == "true" || word == "false" || word == "null" ||
                       (!word.empty() && std::ranges::all_of(word, [](unsigned char c) { return std::isdigit(c) != 0 || std::string_view("+-.eE").find(static_cast<char>(c)) != std::string_view::npos; }));
  json += literal ? std::string(word) : quoted(word);
  return State::complete;
}

class Gemma final : public ToolSyntax {
 public:
  const char* name() const override { return "gemma"; }
  bool recognised_in(std::string_view chat_template) const override {
    return std::ranges::any_of(kOpeners, [&](std::string_view opener) { return chat_template.find(opener) != std::string_view::npos; });
  }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::span<const std::string_view> marks() const override { return kMarks; }
  std::string_view triggers() const override { return ">}`)"; }

  CallScan scan(std::string_view text, bool ended, const ToolTable&) const override {
    const CallScan result = text.starts_with(kFence) ? fenced(text, ended) : marked(text, text.starts_with(kGemma4.open) ? kGemma4 : kFunctionGemma, ended);
    return result.state == State::incomplete && ended ? malformed() : result;
  }

  // Inside lists and objects texts stand as JSON writes them; the model reads both.
  std::optional<ArgumentsShape> arguments_shape() const override {
    const std::string quote(kGemma4.quote);
    return ArgumentsShape{std::string(kGemma4.open) + std::string(kCall), "{", "", ":", "", ",", quote, quote, quote, "}" + std::string(kGemma4.close)};
  }
  std::string head(std::string_view tool) const override {
    return std::string(kGemma4.open) + std::string(kCall) + std::string(tool) + (tool.empty() ? "" : "{");
  }

 private:
  static CallScan marked(std::string_view text, const Marks& marks, bool ended) {
    std::size_t at = skip_space(text, marks.open.size());
    if (const State state = word_at(text, at, kCall); state != State::complete) return {state, 0, {}};
    at += kCall.size();
    const std::size_t brace = text.find('{', at);
    if (brace == std::string_view::npos) return text.size() - at > 128 ? malformed() : incomplete();
    ParsedCall call;
    call.name = text.substr(at, brace - at);
    if (!good_name(call.name)) return malformed();
    at = brace;
    std::string json;
    if (const State state = value_of(text, at, marks, json, 0); state != State::complete) return {state, 0, {}};
    auto input = object_text(json);
    if (!input) return malformed();
    call.input = *std::move(input);
    const std::size_t after = skip_space(text, at);
    const State closed = word_at(text, after, marks.close);
    if (closed == State::incomplete && !ended) return incomplete();
    return complete(closed == State::complete ? after + marks.close.size() : at, {std::move(call)});
  }

  static CallScan fenced(std::string_view text, bool ended) {
    std::vector<ParsedCall> calls;
    std::size_t at = kFence.size();
    while (true) {
      at = skip_space(text, at);
      const State closed = word_at(text, at, kFenceClose);
      if (closed == State::complete) return calls.empty() ? malformed() : complete(at + kFenceClose.size(), std::move(calls));
      if (closed == State::incomplete) return ended && !calls.empty() ? complete(text.size(), std::move(calls)) : incomplete();
      ParsedCall call;
      // `print(f(x=1))` is how some write it.
      const bool printed = text.substr(at).starts_with("print(");
      if (const State state = python_call(text, printed ? at + 6 : at, at, call); state != State::complete) return {state, 0, {}};
      if (printed) {
        if (at == text.size()) return incomplete();
        if (text[at] == ')') ++at;
      }
      calls.push_back(std::move(call));
    }
  }
};

}  // namespace

const ToolSyntax& gemma_syntax() {
  static const Gemma syntax;
  return syntax;
}

}  // namespace pensieve
