// Makes a node of the engine's graph call us: it becomes the engine's public "custom"
// operation with the same sources and the same place, run by all threads of a step.
//
// Nothing of this is promised by the engine's API; so what is put in its place is proven
// on the loaded model before it is used (llama_proof.h).
//
//   Threads  the engine thread, before the node is computed. `compute` is called on all threads of the step.
#pragma once

#include <ggml.h>

#include <cstddef>
#include <span>

namespace pensieve {

// Bytes that a node can keep behind the parameters of a custom operation.
inline constexpr std::size_t kCustomParametersMax = GGML_MAX_OP_PARAMS - 40;

// `parameters` stay with the node, where custom_parameters() finds them. False: the engine had no room for the attempt.
bool make_custom(ggml_tensor* node, ggml_custom_op_t compute, void* self, std::span<const std::byte> parameters);
const std::byte* custom_parameters(const ggml_tensor* node);

// Whether the tensor's bytes can be read and written by the processor.
bool on_processor(const ggml_tensor* tensor);

// Memory of the calling thread, aligned to 64 bytes; the next call may move it.
std::byte* thread_scratch(std::size_t bytes);

}  // namespace pensieve
