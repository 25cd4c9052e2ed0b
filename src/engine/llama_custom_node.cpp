#include "engine/llama_custom_node.h"

#include <ggml-backend.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/check.h"

namespace pensieve {
namespace {

constexpr std::size_t kParametersAt = GGML_MAX_OP_PARAMS - kCustomParametersMax;  // The engine's own lie before.

struct FreeAligned {
  void operator()(std::byte* memory) const { std::free(memory); }
};

}  // namespace

bool make_custom(ggml_tensor* node, ggml_custom_op_t compute, void* self, std::span<const std::byte> parameters) {
  CHECK(parameters.size() <= kCustomParametersMax, "a node keeps so many parameters");
  // A custom operation as the engine itself makes it; only its kind and parameters are taken over.
  alignas(64) std::array<std::byte, 4096> room;
  ggml_context* scratch = ggml_init({room.size(), room.data(), true});
  if (scratch == nullptr) return false;
  ggml_tensor* none[1] = {ggml_new_tensor_1d(scratch, GGML_TYPE_F32, 1)};
  const ggml_tensor* custom = ggml_custom_4d(scratch, GGML_TYPE_F32, 1, 1, 1, 1, none, 1, compute, GGML_N_TASKS_MAX, self);
  std::memcpy(node->op_params, custom->op_params, sizeof(node->op_params));
  if (!parameters.empty()) std::memcpy(reinterpret_cast<std::byte*>(node->op_params) + kParametersAt, parameters.data(), parameters.size());
  node->op = custom->op;
  ggml_free(scratch);
  return true;
}

const std::byte* custom_parameters(const ggml_tensor* node) { return reinterpret_cast<const std::byte*>(node->op_params) + kParametersAt; }

bool on_processor(const ggml_tensor* tensor) {
  const ggml_backend_buffer* buffer = tensor->view_src != nullptr ? tensor->view_src->buffer : tensor->buffer;
  return buffer != nullptr && ggml_backend_buffer_is_host(const_cast<ggml_backend_buffer*>(buffer));
}

std::byte* thread_scratch(std::size_t bytes) {
  thread_local std::unique_ptr<std::byte, FreeAligned> memory;
  thread_local std::size_t size = 0;
  if (size < bytes) {
    const std::size_t whole = (bytes + 63) / 64 * 64;
    memory.reset(static_cast<std::byte*>(std::aligned_alloc(64, whole)));
    CHECK(memory != nullptr, "the kernels get their scratch memory");
    size = whole;
  }
  return memory.get();
}

}  // namespace pensieve
