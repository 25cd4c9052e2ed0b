#include "worker/thinking_budget.h"

#include <algorithm>
#include <string>

#include "base/log.h"

namespace pensieve {
namespace {

// A model of channels is left to choose the next one, a call for example. If it chooses to think again, it speaks.
constexpr const char* kHarmonyEnd = "<|end|><|start|>assistant";
constexpr const char* kHarmonySpeak = "<|end|><|start|>assistant<|channel|>final<|message|>";

std::vector<TokenId> tokens_of(const std::string& text, const Vocabulary& vocabulary) {
  auto tokens = vocabulary.tokenise(text, false);
  if (!tokens || std::ranges::any_of(*tokens, [&](TokenId token) { return vocabulary.ends_turn(token); })) return {};
  return *std::move(tokens);
}

}  // namespace

ThinkingBudget::ThinkingBudget(const ChatTemplate& chat, const Vocabulary& vocabulary, const GenerateRequest& request) {
  if (!request.prompt.thinking.budget_tokens) return;
  const bool channels = &chat.tool_syntax() == &harmony_syntax();
  const std::string& close = chat.thinking_marks().close;
  if (!channels && close.empty()) return;
  // The mark on a line of its own, as models are taught; white space behind it is theirs, for a grammar may begin there.
  end_ = tokens_of(channels ? kHarmonyEnd : "\n" + close, vocabulary);
  end_again_ = channels ? tokens_of(kHarmonySpeak, vocabulary) : end_;
  if (end_.empty() || end_again_.empty()) {
    log::warn("thinking has no bound: its end mark would end the turn");
    return;
  }
  left_ = *request.prompt.thinking.budget_tokens;
}

void ThinkingBudget::took(TokenId token, bool thinking) {
  if (left_ < 0) return;
  if (!due_.empty()) {
    if (token == due_.front()) due_.pop_front();
    else due_.clear();  // Said by a worker that knew no bound.
    return;
  }
  if (!thinking) return;
  if (left_ > 0 && --left_ > 0) return;
  due_.assign(end_.begin(), end_.end());
  end_ = end_again_;
}

}  // namespace pensieve
