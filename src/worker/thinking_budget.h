// thinking.budget_tokens: when a model has thought for so many tokens, the end of its thinking is put into its
// mouth, token by token, and it goes on with the answer.
//
//   Threads  the engine thread.
//   Promise  a pure function of the tokens that were taken in, so a request that is read again elsewhere comes to the same.
//            What is put in counts as output: the model reads it, and the client pays its time.
#pragma once

#include <deque>
#include <optional>

#include "chat/chat_template.h"
#include "core/request.h"
#include "engine/engine.h"

namespace pensieve {

class ThinkingBudget {
 public:
  // Without a budget, or a template that thinks, it never does anything.
  ThinkingBudget(const ChatTemplate& chat, const Vocabulary& vocabulary, const GenerateRequest& request);

  // The token that comes next instead of a sampled one; nullopt: sample.
  std::optional<TokenId> next() const { return due_.empty() ? std::nullopt : std::optional(due_.front()); }
  // `token` was said; after it the answer is `thinking` or not.
  void took(TokenId token, bool thinking);

 private:
  std::int32_t left_ = -1;  // Tokens; -1: no bound.
  std::vector<TokenId> end_, end_again_;
  std::deque<TokenId> due_;
};

}  // namespace pensieve
