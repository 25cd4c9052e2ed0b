// Puts our attention kernels in the place of the engine's flash attention.
//
// The evaluation callback shows every node of a graph before it is computed. A node
// of flash attention on the processor becomes the engine's "custom" operation, which
// calls us with the same sources, on the engine's own threads, at the same place.
// Where a node does not suit the kernels it stays the engine's.
//
// Nothing of this is promised by the engine's API, so prove() shows it on the loaded
// model: the same tokens through the engine's attention and through ours must give
// the same logits but for rounding. If not, the context is made anew without flash
// attention (docs/decisions/0008).
//
//   Owns     scratch memory, one piece for each thread of the engine.
//   Threads  the engine thread; compute() is called on all threads of a step.
#pragma once

#include <ggml.h>
#include <llama.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/attention/attention.h"

namespace pensieve {

class LlamaAttention {
 public:
  LlamaAttention();
  LlamaAttention(const LlamaAttention&) = delete;
  LlamaAttention& operator=(const LlamaAttention&) = delete;

  // Whether this model's attention suits a kernel of this processor, before anything is allocated.
  static bool suits(const llama_model* model);

  // To be called for every node before it is computed.
  void on_node(ggml_tensor* node);

  // Runs a few tokens in sequence 0 through both, compares, and forgets them. From then on ours is used. Says why not.
  Result<void> prove(llama_context* context, const llama_model* model);

  const char* kernel() const { return kernel_ == nullptr ? "" : kernel_->name; }

 private:
  static void compute(ggml_tensor* node, int part, int parts, void* self);
  bool adopt(ggml_tensor* node);

  const AttentionKernel* kernel_;
  bool in_use_ = false;
  std::uint64_t adopted_ = 0;  // Nodes that became ours.
  std::uint64_t left_ = 0;     // Nodes of flash attention that did not.
};

}  // namespace pensieve
