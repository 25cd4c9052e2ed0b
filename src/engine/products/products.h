// Products of quantised weights with the activations of a step's rows:
// out[row][n] = sum over k of weights[n][k] * activations[row][k]. Takes the place of the
// engine's own matrix product (engine/llama_products.*).
//
// Why our own (docs/decisions/0011): the engine is fast here only with a second,
// repacked copy of the weights, which doubles the memory of a model. These kernels read
// the weights as they lie in the file, once for all rows of a step.
//
//   - A row's result depends on its own activations alone, bit for bit: not on the other
//     rows of the step, nor on the number of threads, nor on the kernel.
//   - Activations are rounded to 8 bits with one scale for each 256, or 32 in formats whose blocks are of 32, as the engine does.
//
//   Owns     nothing.
//   Threads  run() is called by all threads of a step at once, each with its part.
//   Units    widths in numbers, strides in bytes.
//   Source   block formats: ggml's, as in GGUF files (ggml-common.h of that project describes them).
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/instruction_sets.h"

namespace pensieve {

inline constexpr std::int64_t kProductTileRows = 64;  // So many rows are bytes at a time.
inline constexpr std::int64_t kProductBlock = 256;  // Widths are multiples of it.
// What a kernel keeps of a row for each of those: its bytes, then sums and scales.
inline constexpr std::int64_t kProductScratchOfBlock = kProductBlock + 16 * sizeof(std::int32_t) + 8 * sizeof(float);

enum class WeightFormat { q4_k, q5_k, q6_k, q4_0, q4_1, q8_0 };

struct ProductInput {
  const std::byte* weights = nullptr;  // [outputs][width], in blocks
  std::size_t weights_row = 0;
  WeightFormat format = WeightFormat::q4_k;
  const std::byte* activations = nullptr;  // f32: [rows][width]
  std::size_t activations_row = 0;
  std::byte* out = nullptr;  // f32: [rows][outputs]
  std::size_t out_row = 0;
  std::int64_t width = 0, outputs = 0, rows = 0;
};

struct ProductKernel {
  const char* name;
  InstructionSet set;
  // Does part `part` of `parts`. `scratch` holds product_scratch_bytes(), aligned to 64 bytes, and is this thread's own.
  void (*run)(const ProductInput& input, int part, int parts, std::byte* scratch);
};

// The one for this processor; null when there is none, or when none may be used (platform/instruction_sets.h).
const ProductKernel* product_kernel();
// Every kernel that this processor can run, best first; ended by null. For tests.
const ProductKernel* const* product_kernels();

bool product_takes(const ProductInput& input);
std::size_t product_block_bytes(WeightFormat format);  // Of kProductBlock weights.
std::size_t product_scratch_bytes(std::int64_t width, std::int64_t rows);

}  // namespace pensieve
