// The whole state of a sequence as bytes, for models whose state cannot be cut in
// blocks (llama_kv.h): sliding windows, recurrent and hybrid ones. It holds for all
// tokens that were run, and for no fewer of them.
//
// The engine offers it, but does not promise that a sequence put back computes on as
// the first one would have. So probe() proves it on the loaded model.
//
//   Owns     nothing of the engine's.
//   Threads  the engine thread, between two steps.
#pragma once

#include <llama.h>

#include <span>

#include "base/result.h"
#include "core/request.h"

namespace pensieve {

// Runs a few steps in sequence 0 and in sequence 1, where there is one, and forgets them again. Says why
// when a state that was put back gives other logits.
Result<void> probe_llama_states(llama_context* context, const llama_model* model);

std::size_t llama_state_bytes(llama_context* context, SequenceId sequence);
Result<void> save_llama_state(llama_context* context, SequenceId sequence, std::span<std::byte> out);
// What the sequence held is gone. On an error it is empty.
Result<void> load_llama_state(llama_context* context, SequenceId sequence, std::span<const std::byte> state);

}  // namespace pensieve
