// Puts our products in the place of the engine's matrix products, where the weights lie on
// the processor in a format that the kernel knows. Everything else stays the engine's: other
// formats, experts.
//
// The first time a format is met, a few rows of the model's own weights are multiplied by
// our kernel and by hand, with the engine's own unpacking; a format that differs is left
// to the engine, with a warning. llama_proof.h then looks at the whole (docs/decisions/0011).
//
//   Threads  the engine thread; compute() is called on all threads of a step.
#pragma once

#include <ggml.h>

#include <cstdint>
#include <map>

#include "engine/products/products.h"

namespace pensieve {

class LlamaProducts {
 public:
  LlamaProducts();
  LlamaProducts(const LlamaProducts&) = delete;
  LlamaProducts& operator=(const LlamaProducts&) = delete;

  // To be called for every node before it is computed.
  void on_node(ggml_tensor* node);

  void use(bool ours) { in_use_ = ours; }
  bool any() const { return adopted_ > 0; }  // Whether a node became ours.

  const char* kernel() const { return kernel_ == nullptr ? "" : kernel_->name; }

 private:
  static void compute(ggml_tensor* node, int part, int parts, void* self);
  bool trusts(const ggml_tensor* weights, const ProductInput& form);

  const ProductKernel* kernel_;
  std::map<ggml_type, bool> trusted_;
  bool in_use_ = false;
  std::uint64_t adopted_ = 0;
};

}  // namespace pensieve
