// Splits what a model says, while it says it, into text, thinking and calls of
// tools. Text goes in as it is sampled, cut anywhere; the same parts come out
// however it was cut.
//
//   Owns     what it cannot decide yet: never more than a marker's beginning, the
//            white space before it, and a call that is not whole.
//   Threads  one.
//   Promise  a call comes out only when it was sampled whole, with a valid JSON
//            object as its input. What looked like a call and is none comes out as
//            text. Markers never come out.
//            Live, where rules hold the calls to their shape, a call comes out while it
//            is sampled: call_begun, call_input*, and call_ended once it was sampled
//            whole and is valid. Without that last one nothing follows it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/syntax/tool_syntax.h"

namespace pensieve {

struct AnswerPart {
  enum class Kind { text, thinking, call, call_begun, call_input, call_ended };
  Kind kind = Kind::text;
  std::string text;  // Of text and thinking, and a piece of an input.
  ParsedCall call;   // Of a call; of one that is begun, its name; of one that is ended, all of it.
  bool operator==(const AnswerPart&) const = default;
};

// The marks between which a model thinks; empty: it has none.
struct ThinkingMarks {
  std::string open;
  std::string close;
};

class AnswerParser {
 public:
  virtual ~AnswerParser() = default;
  virtual void push(std::string_view text, std::vector<AnswerPart>& parts) = 0;
  // The answer is over. `ended`: the model itself ended its turn; otherwise it was cut off.
  virtual void finish(bool ended, std::vector<AnswerPart>& parts) = 0;
  virtual bool thinking() const = 0;  // The last that was pushed was thinking.
};

// `tools`: empty when no call may come out. Calls then stay text. `live`: a grammar holds the
// calls, and nothing about them is left to be checked; without effect where inputs are no JSON.
std::unique_ptr<AnswerParser> make_answer_parser(const ToolSyntax& syntax, const ThinkingMarks& thinking, ToolTable tools, bool live = false);

}  // namespace pensieve
