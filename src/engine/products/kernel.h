// What does not depend on the instruction set: which thread multiplies which rows by which outputs, and in what order.
//
// Every format is brought to one shape: of a block of 256 weights small unsigned numbers u, a small whole scale s and a small whole
// offset m of each part of it, and two factors, so that
//   weight = scale * s * u - offset * m.
// With activations a = d * q the block gives, the sums in whole numbers,
//   d * scale * [sum(s * dot(u, q))] - d * offset * [sum(m * (sum of q over the part))].
// Formats whose blocks are of 32 weights have no whole scales: eight of their blocks are one of ours, a scale and an offset for each,
//   weight = scale * u - offset.
// Their activations have a scale for each 32, too, as the engine gives them.
// The bytes of the activations lie in the order in which the format yields its weights, so that unpacking need not bring those in order.
//
// Each instruction set includes this in a source file of its own, which is compiled for it; so nothing here may be visible
// to others (an inline function that the linker shares would carry its instructions elsewhere): everything is in an anonymous
// namespace, and the standard library stays out.
//
// `Isa` has: Q4K, Q5K, Q6K, Q4_0, Q4_1 and Q8_0, each with kBytes of a block of 256 weights and kOrder, the order of its parts of 16 in
// which it yields them; Sums<Rows>, zero at first; add_block<Format>(at, rows, q, sums, d, to), one block of weights with the same of `Rows` rows
// (theirs from q, sums and d on), a row's steps the same whatever Rows is; totals(sums, out); quantise_block(from, order, q, d, sums), 256 numbers as bytes in that order, their
// scale, and the sums of each sixteen; quantise_32s(from, order, q, d, sums), the same with a scale for each 32.
#pragma once

#include <immintrin.h>

#include "engine/products/products.h"

namespace pensieve {
namespace {

constexpr int kGroup = 8;  // Rows that are multiplied together: so many sums stay in registers.

#define INLINED [[gnu::always_inline]] inline  // A block that went through memory would cost half the speed.

// A tile of rows as bytes, in groups of kGroup; what `scratch` holds.
struct Activations {
  std::int8_t* q;      // [row][width], in the format's order
  std::int16_t* sums;  // [row][block][16], in the order of the numbers
  float* d;            // Whole scales: [group][block][kGroup], those of a block are multiplied together. Else [row][block][8].
  std::int64_t blocks;
};

INLINED float half_at(const std::byte* from) {
  std::uint16_t bits = 0;
  __builtin_memcpy(&bits, from, sizeof(bits));
  return _cvtsh_ss(bits);
}

INLINED std::uint32_t word_at(const std::byte* from) {
  std::uint32_t word = 0;
  __builtin_memcpy(&word, from, sizeof(word));
  return word;
}

// The order in which parts of 16 numbers lie.
struct Order {
  int of[16];
};
constexpr Order order_of_32s(const int (&of)[8]) {
  Order order{};
  for (int i = 0; i < 16; ++i) order.of[i] = 2 * of[i / 2] + i % 2;
  return order;
}
constexpr Order kNaturalOrder = order_of_32s({0, 1, 2, 3, 4, 5, 6, 7});

INLINED __m128i load_16(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

// Q4_K and Q5_K: two factors, then scales and offsets of eight parts of 32, 6 bits each, in twelve bytes. Eight bytes of each.
struct SixBits {
  __m128i scales, offsets;
};
INLINED SixBits six_bits(const std::byte* at) {
  const std::uint32_t a = word_at(at + 4), b = word_at(at + 8), c = word_at(at + 12);
  const std::uint32_t scales_high = (c & 0x0F0F0F0Fu) | (((a >> 6) & 0x03030303u) << 4);
  const std::uint32_t offsets_high = ((c >> 4) & 0x0F0F0F0Fu) | (((b >> 6) & 0x03030303u) << 4);
  return {_mm_set_epi32(0, 0, static_cast<int>(scales_high), static_cast<int>(a & 0x3F3F3F3Fu)),
          _mm_set_epi32(0, 0, static_cast<int>(offsets_high), static_cast<int>(b & 0x3F3F3F3Fu))};
}

// Half-precision numbers that lie `stride` bytes apart.
INLINED __m256 eight_halves(const std::byte* from, std::int64_t stride) {
  std::uint16_t bits[8];
  for (int i = 0; i < 8; ++i) __builtin_memcpy(&bits[i], from + i * stride, sizeof(bits[i]));
  return _mm256_cvtph_ps(_mm_set_epi16(static_cast<short>(bits[7]), static_cast<short>(bits[6]), static_cast<short>(bits[5]), static_cast<short>(bits[4]),
                                       static_cast<short>(bits[3]), static_cast<short>(bits[2]), static_cast<short>(bits[1]), static_cast<short>(bits[0])));
}

// How far ahead weights are asked for, into the second cache. One row of a large matrix waits for memory: without this it
// went at 0.8 of the engine's pace, with it at 1.0 to 1.3 (bench/products.cpp; 2 KiB and the first cache: 0.85 to 1.2).
constexpr std::int64_t kAhead = 8192;

// Weights that are worked on with all rows of a tile before the next come: they stay in the second cache.
constexpr std::int64_t kChunkBytes = 64 << 10;

template <typename Isa>
struct Products {
  // Rows [begin, end) of the input, the tile's from 0 on. Scales of a group that no row has are 0: what lies there
  // from before may be numbers so small that each product with one costs a hundred cycles.
  template <typename Format>
  static void quantise(const ProductInput& in, std::int64_t begin, std::int64_t end, const Activations& to) {
    const std::int64_t rows = end - begin;
    const auto scale_at = [&](std::int64_t r, std::int64_t b) { return to.d + (r / kGroup * to.blocks + b) * kGroup + r % kGroup; };
    for (std::int64_t r = rows; Format::kWholeScales && r % kGroup != 0; ++r) {
      for (std::int64_t b = 0; b < to.blocks; ++b) *scale_at(r, b) = 0;
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const auto* from = reinterpret_cast<const float*>(in.activations + static_cast<std::size_t>(begin + r) * in.activations_row);
      for (std::int64_t b = 0; b < to.blocks; ++b) {
        const std::int64_t at = r * to.blocks + b;
        if constexpr (Format::kWholeScales) Isa::quantise_block(from + b * kProductBlock, Format::kOrder, to.q + at * kProductBlock, *scale_at(r, b), to.sums + at * 16);
        else Isa::quantise_32s(from + b * kProductBlock, Format::kOrder, to.q + at * kProductBlock, to.d + at * 8, to.sums + at * 16);
      }
    }
  }

  // `Rows` products of one row of weights, of a tile's rows from `first` on.
  template <typename Format, int Rows>
  INLINED static void multiply(const std::byte* weights, const Activations& rows, std::int64_t first, bool ask_ahead, float* out) {
    typename Isa::template Sums<Rows> sums;
    for (std::int64_t b = 0; b < rows.blocks; ++b) {
      const std::byte* at = weights + b * Format::kBytes;
      if (ask_ahead) {
        for (std::int64_t line = 0; line < Format::kBytes; line += 64) __builtin_prefetch(at + kAhead + line, 0, 2);
      }
      const std::int64_t block = first * rows.blocks + b;
      const float* d = rows.d + (Format::kWholeScales ? first * rows.blocks + b * kGroup : block * 8);
      Isa::template add_block<Format>(at, rows, rows.q + block * kProductBlock, rows.sums + block * 16, d, sums);
    }
    Isa::totals(sums, out);
  }

  // Outputs [begin, end) of a group of the tile's rows.
  template <typename Format, int Rows>
  static void outputs_of_group(const ProductInput& in, const Activations& tile, std::int64_t first, std::int64_t row, std::int64_t begin, std::int64_t end, bool ask_ahead) {
    for (std::int64_t n = begin; n < end; ++n) {
      float results[Rows];
      multiply<Format, Rows>(in.weights + static_cast<std::size_t>(n) * in.weights_row, tile, first, ask_ahead, results);
      for (int r = 0; r < Rows; ++r)
        __builtin_memcpy(in.out + static_cast<std::size_t>(row + r) * in.out_row + static_cast<std::size_t>(n) * sizeof(float), &results[r], sizeof(float));
    }
  }

  // Rows [row_begin, row_end) and outputs [begin, end): what is one thread's.
  template <typename Format>
  static void run_range(const ProductInput& in, std::int64_t row_begin, std::int64_t row_end, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    const std::int64_t blocks = in.width / kProductBlock;
    const std::int64_t most = in.rows < kProductTileRows ? (in.rows + kGroup - 1) / kGroup * kGroup : kProductTileRows;
    Activations tile;
    tile.q = reinterpret_cast<std::int8_t*>(scratch);
    tile.d = reinterpret_cast<float*>(tile.q + most * in.width);
    tile.sums = reinterpret_cast<std::int16_t*>(tile.d + most * blocks * 8);
    tile.blocks = blocks;
    const std::int64_t chunk = kChunkBytes / static_cast<std::int64_t>(in.weights_row) > 0 ? kChunkBytes / static_cast<std::int64_t>(in.weights_row) : 1;
    for (std::int64_t row = row_begin; row < row_end; row += kProductTileRows) {
      const std::int64_t rows = row_end - row < kProductTileRows ? row_end - row : kProductTileRows;
      quantise<Format>(in, row, row + rows, tile);
      for (std::int64_t n = begin; n < end; n += chunk) {
        const std::int64_t stop = end - n < chunk ? end : n + chunk;
        for (std::int64_t first = 0; first < rows; first += kGroup) {
          const bool ask_ahead = first == 0;
          switch (rows - first) {
            case 1: outputs_of_group<Format, 1>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 2: outputs_of_group<Format, 2>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 3: outputs_of_group<Format, 3>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 4: outputs_of_group<Format, 4>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 5: outputs_of_group<Format, 5>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 6: outputs_of_group<Format, 6>(in, tile, first, row + first, n, stop, ask_ahead); break;
            case 7: outputs_of_group<Format, 7>(in, tile, first, row + first, n, stop, ask_ahead); break;
            default: outputs_of_group<Format, kGroup>(in, tile, first, row + first, n, stop, ask_ahead); break;
          }
        }
      }
    }
  }

  // Shared by outputs, each thread makes the bytes of all rows for itself, which needs no barrier and is as much work as
  // some six outputs of its share. Shared by rows it makes those of its own, but the shares are groups: 64 of them are 4.3 for
  // each of 15 threads, and the slowest has 5. The better of the two.
  template <typename Format>
  static void run_format(const ProductInput& in, int part, int parts, std::byte* scratch) {
    const std::int64_t groups = in.rows / kGroup;
    const std::int64_t most = (groups + parts - 1) / parts;
    if (groups >= 2 * parts && (most * parts - groups) * in.outputs < 6 * parts * groups) {
      const std::int64_t row_end = part + 1 == parts ? in.rows : groups * (part + 1) / parts * kGroup;
      return run_range<Format>(in, groups * part / parts * kGroup, row_end, 0, in.outputs, scratch);
    }
    run_range<Format>(in, 0, in.rows, in.outputs * part / parts, in.outputs * (part + 1) / parts, scratch);
  }

  static void run(const ProductInput& in, int part, int parts, std::byte* scratch) {
    switch (in.format) {
      case WeightFormat::q4_k: return run_format<typename Isa::Q4K>(in, part, parts, scratch);
      case WeightFormat::q5_k: return run_format<typename Isa::Q5K>(in, part, parts, scratch);
      case WeightFormat::q6_k: return run_format<typename Isa::Q6K>(in, part, parts, scratch);
      case WeightFormat::q4_0: return run_format<typename Isa::Q4_0>(in, part, parts, scratch);
      case WeightFormat::q4_1: return run_format<typename Isa::Q4_1>(in, part, parts, scratch);
      case WeightFormat::q8_0: return run_format<typename Isa::Q8_0>(in, part, parts, scratch);
    }
  }
};

}  // namespace
}  // namespace pensieve
