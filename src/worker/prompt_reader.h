// From a prompt to the tokens that are run: rendered by the chat template, tokenised,
// and what the model itself said before put in as it was sampled (answer_memory.h).
// `count` and `generate` both go this way, so that a count is what will be run.
//
// An answer of the assistant is recognised where the prompt's text begins with the text
// that it answered, and what follows there, up to the mark that ends a turn, says the
// same: the same text, or read by the same parser the same text, thinking and calls
// (a template spells a call in its own way). The marks around it stay as the template
// set them.
//
//   Threads  the wire thread.
//   Errors   invalid_argument: what the template refuses, ids outside the vocabulary.
#pragma once

#include <string>
#include <vector>

#include "chat/chat_template.h"
#include "worker/answer_memory.h"
#include "worker/token_memory.h"

namespace pensieve {

struct ReadPrompt {
  std::vector<TokenId> tokens;
  std::string opening;  // See GenerateRequest::opening. Empty where the prompt came as tokens; so is the next.
  std::string origin;   // See answer_memory.h.
  std::int32_t answers_recognised = 0;
};

class PromptReader {
 public:
  // All must outlive it.
  PromptReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const AnswerMemory& answers);
  Result<ReadPrompt> read(const Prompt& prompt);

 private:
  struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  std::optional<Span> answer_at(std::string_view text, const KnownAnswer& answer, const ToolTable& tools) const;
  bool says_the_same(std::string_view rendered, const KnownAnswer& answer, std::span<const TokenId> tokens, const ToolTable& tools) const;
  std::span<const TokenId> without_end(const KnownAnswer& answer) const;

  const ChatTemplate& chat_;
  const Vocabulary& vocabulary_;
  const AnswerMemory& answers_;
  std::vector<std::string> turn_ends_;  // The marks that end a turn, as a template writes them.
  TokenMemory tokens_;
};

}  // namespace pensieve
