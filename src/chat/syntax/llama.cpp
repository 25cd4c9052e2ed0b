// Llama 3.1 to 3.3 and 4. A call begins the answer, as JSON or in Python's spelling:
//
//   {"name": "get_weather", "parameters": {"city": "Oslo"}}
//   <|python_tag|>{"name": ...}   or   <|python_tag|>brave_search.call(query="news")
//   <function=get_weather>{"city": "Oslo"}</function>
//   [get_weather(city="Oslo"), get_time(city="Oslo")]
//
// JSON without a mark is a call only if it names a tool of the request; all other
// JSON is the answer's text.
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using namespace call_text;

constexpr std::string_view kTag = "<|python_tag|>";
constexpr std::string_view kFunction = "<function=";
constexpr std::string_view kFunctionClose = "</function>";
constexpr std::string_view kOpeners[] = {kTag, kFunction};

class Llama final : public ToolSyntax {
 public:
  const char* name() const override { return "llama"; }
  bool recognised_in(std::string_view chat_template) const override {
    const auto has = [&](std::string_view word) { return chat_template.find(word) != std::string_view::npos; };
    return has(kTag) || has("<|start_header_id|>") || has("<|header_start|>");
  }
  std::span<const std::string_view> openers() const override { return kOpeners; }
  std::string_view bare_openers() const override { return "{["; }
  std::string_view triggers() const override { return "}])>;\"("; }

  CallScan scan(std::string_view text, bool ended, const ToolTable& tools) const override {
    if (text.starts_with(kFunction)) return custom(text, ended);
    const bool marked = text.starts_with(kTag);
    const std::size_t at = marked ? skip_space(text, kTag.size()) : 0;
    if (at == text.size()) return ended ? malformed() : incomplete();
    CallScan result;
    if (text[at] == '{') result = json(text, at, marked, tools);
    else if (text[at] == '[' && !marked) result = python_list(text, at, tools);
    else result = python(text, at, tools);
    if (result.state == State::incomplete && ended) return malformed();
    return result;
  }

  std::optional<CallShape> json_shape() const override { return CallShape{"{\"name\": \"", "\", \"parameters\": ", "}"}; }

 private:
  // Several objects may stand in a row, parted by ';' or line breaks; each is a call of its own.
  static CallScan json(std::string_view text, std::size_t at, bool marked, const ToolTable& tools) {
    if (!marked) {
      // Refuse early: an answer that is JSON of another kind must not wait for its end.
      const std::size_t first = skip_space(text, at + 1);
      if (first == text.size()) return incomplete();
      State begins = State::malformed;
      for (const std::string_view key : {"\"name\"", "\"type\"", "\"function\"", "\"parameters\"", "\"arguments\""}) {
        const State state = word_at(text, first, key);
        if (state == State::complete) begins = State::complete;
        else if (state == State::incomplete && begins == State::malformed) begins = State::incomplete;
      }
      if (begins != State::complete) return begins == State::incomplete ? incomplete() : malformed();
    }
    std::size_t end = 0;
    if (const State state = skip_json(text, at, end); state != State::complete) return {state, 0, {}};
    auto call = call_of(text.substr(at, end - at));
    if (!call || (!marked && !tools.has(call->name))) return malformed();
    return complete(end, {*std::move(call)});
  }

  static CallScan python_list(std::string_view text, std::size_t at, const ToolTable& tools) {
    std::vector<ParsedCall> calls;
    std::size_t i = skip_space(text, at + 1);
    while (i < text.size() && text[i] != ']') {
      ParsedCall call;
      if (const State state = python_call(text, i, i, call); state != State::complete) return {state, 0, {}};
      if (!tools.has(call.name)) return malformed();
      calls.push_back(std::move(call));
      i = skip_space(text, i);
      if (i < text.size() && text[i] == ',') i = skip_space(text, i + 1);
      else if (i < text.size() && text[i] != ']') return malformed();
    }
    if (i >= text.size()) return incomplete();
    return calls.empty() ? malformed() : complete(i + 1, std::move(calls));
  }

  static CallScan python(std::string_view text, std::size_t at, const ToolTable& tools) {
    ParsedCall call;
    std::size_t end = 0;
    const State state = python_call(text, at, end, call);
    if (state == State::complete && tools.has(call.name)) return complete(end, {std::move(call)});
    return state == State::incomplete ? incomplete() : malformed();
  }

  static CallScan custom(std::string_view text, bool ended) {
    const auto wait = [&] { return ended ? malformed() : incomplete(); };
    const std::size_t name_end = text.find('>');
    if (name_end == std::string_view::npos) return text.size() > 140 ? malformed() : wait();
    ParsedCall call;
    call.name = text.substr(kFunction.size(), name_end - kFunction.size());
    if (!good_name(call.name)) return malformed();
    const std::size_t begin = skip_space(text, name_end + 1);
    if (begin == text.size()) return wait();
    std::size_t end = 0;
    if (const State state = skip_json(text, begin, end); state != State::complete) return state == State::incomplete ? wait() : malformed();
    auto input = object_text(text.substr(begin, end - begin));
    if (!input) return malformed();
    call.input = *std::move(input);
    const std::size_t after = skip_space(text, end);
    const State closed = word_at(text, after, kFunctionClose);
    if (closed == State::incomplete && !ended) return incomplete();
    return complete(closed == State::complete ? after + kFunctionClose.size() : end, {std::move(call)});
  }
};

}  // namespace

const ToolSyntax& llama_syntax() {
  static const Llama syntax;
  return syntax;
}

}  // namespace pensieve
