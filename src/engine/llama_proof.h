// Shows on the loaded model that what we put into the engine's graph computes what the
// engine does: the same few tokens, once through the engine's own operations and once through
// ours, must give the same logits but for rounding. A wrong scale, mask or layout gives more, with
// any tokens; where rounding chooses other experts, others are tried.
//
//   Threads  the engine thread, before any sequence runs: it uses sequence 0 and forgets it.
#pragma once

#include <llama.h>

#include <functional>
#include <vector>

#include "base/result.h"

namespace pensieve {

class LlamaProof {
 public:
  // Both must outlive it.
  LlamaProof(llama_context* context, const llama_model* model) : context_(context), model_(model) {}

  // Calls use(true), and leaves it there; after an error at use(false). Says what differed from what was in use before.
  Result<void> same_logits(const std::function<void(bool)>& use);
  // Whether with what is in use now the same tokens give the same bits when they are cut into steps elsewhere.
  bool same_bits_cut_elsewhere();

 private:
  llama_context* context_;
  const llama_model* model_;
  std::vector<float> now_;  // The logits of what is in use; empty: not known yet.
};

}  // namespace pensieve
