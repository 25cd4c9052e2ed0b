// From sampled tokens to what they mean: whole characters, then text, thinking and
// calls (chat/answer_parser.h), then text without stop sequences. Stop sequences
// count in the text that is shown and nowhere else. What a grammar cannot hold a
// model to is looked at here: a call of a strict tool that does not fit its schema
// comes out as text, so that nobody runs it.
//
//   Owns     what is held back on the way.
//   Threads  the engine thread.
//   Promise  the same tokens give the same events, ids of calls included, so a
//            request can be read again elsewhere.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "chat/chat_template.h"
#include "core/stream_event.h"
#include "worker/text_assembler.h"

namespace pensieve {

// What a token adds to an answer: its text; of the control tokens only the marks of calls and thinking.
std::string visible_text(const ChatTemplate& chat, const Vocabulary& vocabulary, TokenId token);

class AnswerReader {
 public:
  // `chat` and `vocabulary` must outlive it. `request` has its prompt as tokens and its seed.
  AnswerReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const GenerateRequest& request);

  // Events carry no token ids and no time: whoever samples puts them in.
  std::vector<StreamEvent> push(TokenId token);
  std::vector<StreamEvent> finish(bool ended_by_model);  // What was held back.

  const std::string& stopped_by() const { return text_.stopped_by(); }  // Empty: by no stop sequence.
  bool called() const { return ended_calls_ > 0; }  // Of calls that were sampled whole.
  bool turn_is_over() const { return called() && one_call_at_most_; }
  bool thinking() const { return parser_->thinking(); }
  // What of the answer is not as a schema wants that had to be kept; empty: nothing. After finish().
  const std::string& violation() const { return violation_; }

 private:
  std::vector<StreamEvent> events_of(const std::vector<AnswerPart>& parts);
  void show(std::string text, std::vector<StreamEvent>& events);
  void flush_text(std::vector<StreamEvent>& events);
  bool fits(const ParsedCall& call);
  std::string next_call_id();

  const ChatTemplate& chat_;
  const Vocabulary& vocabulary_;
  const bool one_call_at_most_;
  const std::string json_schema_;                // Of the whole answer; empty: it is free.
  std::map<std::string, std::string> strict_;    // Schemas of the tools that are.
  TextAssembler characters_;
  std::unique_ptr<AnswerParser> parser_;
  TextAssembler text_;
  std::uint64_t call_seed_;
  int calls_ = 0;
  int ended_calls_ = 0;
  std::string shown_;      // Kept only for json_schema_.
  std::string violation_;
};

}  // namespace pensieve
