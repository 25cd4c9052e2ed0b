// Shows on the loaded model that what we put into the engine's graph computes what the
// engine does: the same few tokens, once through the engine's own operations and once through
// ours, must give the same logits but for rounding. A wrong scale, mask or layout gives more.
//
//   Threads  the engine thread, before any sequence runs: it uses sequence 0 and forgets it.
#pragma once

#include <llama.h>

#include <functional>

#include "base/result.h"

namespace pensieve {

// Calls use(false), then use(true), and leaves it there; after an error at use(false). Says what differed.
Result<void> prove_same_logits(llama_context* context, const llama_model* model, const std::function<void(bool)>& use);

}  // namespace pensieve
