// From sampled tokens to what they mean: whole characters, then text, thinking and
// calls (chat/answer_parser.h), then text without stop sequences. Stop sequences
// count in the text that is shown and nowhere else.
//
//   Owns     what is held back on the way.
//   Threads  the engine thread.
//   Promise  the same tokens give the same events, ids of calls included, so a
//            request can be read again elsewhere.
#pragma once

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
  bool called() const { return calls_ > 0; }
  bool turn_is_over() const { return called() && one_call_at_most_; }
  bool thinking() const { return parser_->thinking(); }

 private:
  std::vector<StreamEvent> events_of(const std::vector<AnswerPart>& parts);
  void flush_text(std::vector<StreamEvent>& events);
  std::string next_call_id();

  const ChatTemplate& chat_;
  const Vocabulary& vocabulary_;
  const bool one_call_at_most_;
  TextAssembler characters_;
  std::unique_ptr<AnswerParser> parser_;
  TextAssembler text_;
  std::uint64_t call_seed_;
  int calls_ = 0;
};

}  // namespace pensieve
