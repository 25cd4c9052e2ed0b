// The shapes that stand-ins come in: which numbers a model of an architecture
// states about itself and which tensors it has, by libllama's names.
//
//   Units    dims as ggml orders them: the first is the length of a row.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "vocabulary.h"

namespace pensieve {

enum class Pooling { none, mean, cls, last };  // As GGUF numbers them.

struct Shape {
  const char* name;
  const char* title;
  const char* architecture;
  Family family;
  std::int64_t layers, width, heads, kv_heads, head_width, feed_forward, vocabulary, context;
  float rope_base = 10000;
  std::int64_t experts = 0, experts_used = 0;  // Mixtures; feed_forward is one expert's.
  float embedding_scale = 1, residual_scale = 1, attention_scale = 1;  // Of granite.
  std::int64_t window = 0;                     // Of sliding-window layers.
  std::int64_t context_original = 0;           // Long-rope: what it was first trained on; 0: none.
  bool own_output = false;                     // Has output.weight; else the embedding serves.
  const char* layer_kinds = "";                // Hybrids: 'a' for attention, 'c' for a convolution, a letter a layer.
  std::int64_t state_width = 0;                // Recurrent: numbers of state for each inner channel.
  Pooling pooling = Pooling::none;             // Other: it makes embeddings.
};

std::span<const Shape> all_shapes();

enum class Precision {
  full,    // float32: norms, routers, small parameters.
  weight,  // As asked for.
  output,  // As asked for, or a little finer, as the usual mixes do.
};

// decay: -1 to -16, as state decays have; slow: -4, a time step small enough that states remember; ramp: 1 to 32, as rope factors.
enum class Fill { ones, normal, decay, slow, ramp };

struct TensorShape {
  std::string name;
  Precision precision;
  std::vector<std::int64_t> dims;
  Fill fill = Fill::normal;
};

using KeyValue = std::variant<std::uint32_t, float, bool, std::vector<std::int32_t>>;

struct Blueprint {
  std::vector<std::pair<std::string, KeyValue>> numbers;  // Keys without the architecture's name before them.
  std::vector<TensorShape> tensors;
};

Blueprint blueprint_of(const Shape& shape);

}  // namespace pensieve
