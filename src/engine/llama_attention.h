// Puts our attention kernels in the place of the engine's flash attention.
//
// The evaluation callback shows every node of a graph before it is computed. A node
// of flash attention on the processor is made to call us (llama_custom_node.h). Where a
// node does not suit the kernels it stays the engine's. Used once llama_proof.h has shown
// on the loaded model that it is right; if it is not, the context is made anew without flash
// attention (docs/decisions/0008).
//
//   Threads  the engine thread; compute() is called on all threads of a step.
#pragma once

#include <ggml.h>
#include <llama.h>

#include <cstdint>

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

  void use(bool ours) { in_use_ = ours; }

  // Whether every attention node so far became ours, and there was one.
  Result<void> complete() const;

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
