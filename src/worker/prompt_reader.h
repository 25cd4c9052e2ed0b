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
// An image becomes the tokens that the engine's sight says (core/picture_token.h), where
// the template set its mark.
//
//   Threads  the wire thread.
//   Errors   invalid_argument: what the template refuses, ids outside the vocabulary.
#pragma once

#include <set>
#include <string>
#include <utility>
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
  std::vector<PictureRows> pictures;
};

class PromptReader {
 public:
  // All must outlive it. `sight` may be null: the model does not see.
  PromptReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const AnswerMemory& answers, const Sight* sight = nullptr);
  // `check_images`: those not seen before are decoded, so that one that cannot be is refused now.
  Result<ReadPrompt> read(const Prompt& prompt, bool check_images = true);

 private:
  struct SeenImage {
    std::vector<TokenId> tokens;
    std::vector<std::pair<std::size_t, std::size_t>> parts;  // Begin and end of each run of its rows.
  };
  Result<std::vector<SeenImage>> look_at(const Prompt& prompt, bool check_images);
  Result<void> find_pictures(const std::vector<SeenImage>& images, ReadPrompt& made) const;
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
  const Sight* const sight_;
  std::set<std::vector<TokenId>> checked_;  // Images that can be decoded, by the tokens that name them.
};

}  // namespace pensieve
