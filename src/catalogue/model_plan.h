// What a model will need before it is loaded: weights, and KV cache for so many
// slots of so many tokens. Arithmetic on the file's own numbers.
//
//   Threads  any: a pure function.
//   Units    bytes, tokens.
//   Errors   corrupt when a number is missing or absurd.
//
// An upper bound for models that keep only a window of some layers.
#pragma once

#include <cstdint>
#include <string>

#include "catalogue/gguf_header.h"

namespace pensieve {

struct ModelPlan {
  std::string name;
  std::string architecture;
  std::uint64_t parameters = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t context_trained = 0;
  std::uint64_t layers = 0;
  std::uint64_t kv_bytes_per_token_f16 = 0;
  std::uint64_t kv_bytes_per_token_q8_0 = 0;
  std::uint64_t context_tokens = 0;  // Of one slot.
  std::uint64_t slots = 0;
  bool embeds = false;               // It makes embeddings: room for one input, whatever the slots; encoders keep nothing of it.
  std::uint64_t kv_bytes = 0;        // For all slots, f16.
  std::uint64_t total_bytes = 0;     // Weights and KV cache; the engine's working memory comes on top.
};

// `context_tokens` 0: as the worker does, what 1 GiB of KV cache holds over all
// slots, but no more than the model was trained on.
Result<ModelPlan> plan_model(const GgufHeader& header, std::uint64_t context_tokens, std::uint64_t slots);

}  // namespace pensieve
