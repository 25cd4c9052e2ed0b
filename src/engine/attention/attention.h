// Attention on this machine's processor: softmax(scale q k + mask) v, for every
// query row of a step, over the cells of its stream. Takes the place of the
// engine's own flash attention inside its graph (engine/llama_attention.*).
//
// Why our own (docs/decisions/0008): the engine offers two ways. One is exact in
// company and fast in decoding, but reads prompts at half speed and needs a matrix of
// all cells for all rows; the other reads fast, but decodes at half speed and its
// results depend on how many rows share the step. These kernels do both well:
//
//   - A row's result depends on its own query, its stream's cells and its mask alone,
//     bit for bit: not on other rows, streams, the number of threads, nor on the cells
//     beyond the last one it may see. Steps of fewer than kManyRows rows for each stream
//     and those of more take two kernels, which add in the same order.
//   - Memory: a tile of cells for each thread, whatever the context.
//
// Online softmax over tiles of cells as in Dao et al., "FlashAttention" (2022).
//
//   Owns     nothing.
//   Threads  run() is called by all threads of a step at once, each with its part.
//   Units    widths in numbers, strides in bytes, cells and rows counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/instruction_sets.h"

namespace pensieve {

inline constexpr std::int64_t kManyRows = 8;
inline constexpr std::int64_t kTileCells = 64;  // Worked on together.
inline constexpr std::int64_t kTileRows = 64;

enum class CellFormat { f16, q8_0 };  // q8_0: 32 numbers as one half-precision scale and 32 bytes.

struct AttentionInput {
  const std::byte* q = nullptr;  // f32: [stream][head][row][key_width]
  std::size_t q_row = 0, q_head = 0, q_stream = 0;
  const std::byte* k = nullptr;  // [stream][kv head][cell][key_width]
  std::size_t k_cell = 0, k_head = 0, k_stream = 0;
  const std::byte* v = nullptr;  // [stream][kv head][cell][value_width]
  std::size_t v_cell = 0, v_head = 0, v_stream = 0;
  CellFormat k_format = CellFormat::f16, v_format = CellFormat::f16;
  const std::byte* mask = nullptr;  // f16, added to the scores: [stream][row][cell]; null: none.
  std::size_t mask_row = 0, mask_stream = 0;
  const float* sinks = nullptr;  // One for each head: a score that takes weight and gives no value. Null: none.
  std::byte* out = nullptr;      // f32: [stream][row][head][value_width]
  std::size_t out_head = 0, out_row = 0, out_stream = 0;
  std::int64_t rows = 0, heads = 0, kv_heads = 0, streams = 0, cells = 0;
  std::int64_t key_width = 0, value_width = 0;
  float scale = 1;
  float softcap = 0;  // 0: none; else scores are softcap * tanh(score / softcap).
};

struct AttentionKernel {
  const char* name;
  InstructionSet set;
  // Does part `part` of `parts`. `scratch` holds attention_scratch_floats(), aligned to 64 bytes, and is this thread's
  // own.
  void (*run)(const AttentionInput& input, int part, int parts, float* scratch);
};

// The best for this processor; null when there is none, or when none may be used (platform/instruction_sets.h).
const AttentionKernel* attention_kernel();
// Every kernel that this processor can run, best first; ended by null. For tests.
const AttentionKernel* const* attention_kernels();

// Whether widths and formats suit the kernels.
bool attention_takes(const AttentionInput& input);
std::size_t attention_scratch_floats(std::int64_t key_width, std::int64_t value_width);

}  // namespace pensieve
