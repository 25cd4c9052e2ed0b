// A GGUF file of halves into one of the engine's mixed quantisations. The engine's
// own quantiser does it, tensor by tensor.
//
//   Threads  one call; the engine uses one thread for each core.
//   Memory   the rows of one tensor, at most 256 MiB of them at a time.
//   Errors   invalid_argument: an unknown type; internal: the engine failed, in its words.
//            Half a file may be left at `to`; it belongs to the caller.
#pragma once

#include <string>

#include "base/result.h"

namespace pensieve {

// `type`: q4_0, q4_k_s, q4_k_m, q5_k_m, q6_k.
Result<void> llama_quantise(const std::string& from, const std::string& to, const std::string& type);

}  // namespace pensieve
