// A few rows with weights as those lie: each output for itself, so memory is read in order. What a block leaves of a row are the lanes of
// a vector; eight of those, of several rows and outputs, are summed together.
#pragma once

#include "engine/products/format_bits.h"

namespace pensieve {
namespace {

// A few rows as bytes; what `scratch` holds.
struct Activations {
  std::int8_t* q;      // [row][width], in the format's order
  std::int16_t* sums;  // [row][block][16], in the order of the numbers
  float* d;            // Whole scales: [block][8], of each product of an octet. Else [row][block][8].
  std::int64_t blocks;
};

// What one block gives of up to eight products: of some rows with one output, then of the same with the next. With whole scales, whole
// numbers: of each half of `lanes`, products are the sum of the first two and offsets that of the last two; with one factor, products are
// the sum of all. Else the products of the eight parts, as floats.
struct Octet {
  __m256i lanes[8];
  float scales[8], offsets[8];  // Of each output.
};

// So many blocks of an output before the next output's: what they leave stays in the first cache.
constexpr std::int64_t kOctetBlocks = 32;

// How far ahead weights are asked for, into the second cache. One row of a large matrix waits for memory: without this it
// went at 0.8 of the engine's pace, with it at 1.0 to 1.3 (bench/products.cpp; 2 KiB and the first cache: 0.85 to 1.2).
constexpr std::int64_t kAhead = 8192;

// Of both halves of a and b, together.
INLINED __m256i add_halves(__m256i a, __m256i b) { return _mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31)); }

// The sum of the lanes of each of eight vectors.
INLINED __m256i lane_sums(const __m256i* eight) {
  __m256i pairs[4];
  for (int i = 0; i < 4; ++i) pairs[i] = _mm256_hadd_epi32(eight[2 * i], eight[2 * i + 1]);
  return add_halves(_mm256_hadd_epi32(pairs[0], pairs[1]), _mm256_hadd_epi32(pairs[2], pairs[3]));
}

// The products of eight parts of 32: `dots` with small numbers u, and `sums` of the activations' bytes alone.
template <typename Format>
INLINED __m256 part_products_of(__m256i dots, __m256i sums, __m256 scales, __m256 offsets, __m256 d) {
  const __m256 both = _mm256_mul_ps(d, scales);
  if constexpr (!Format::kOneFactor) return _mm256_fmsub_ps(_mm256_cvtepi32_ps(dots), both, _mm256_mul_ps(offsets, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), d)));
  else if constexpr (requires { Format::kOffsetShift; }) return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_sub_epi32(dots, _mm256_slli_epi32(sums, Format::kOffsetShift))), both);
  else return _mm256_mul_ps(_mm256_cvtepi32_ps(dots), both);
}

template <typename Isa, typename Format, int Rows>
struct Octets {
  // The input's rows from `row` on, with outputs [begin, end).
  static void run(const ProductInput& in, std::int64_t row, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    Activations rows;
    rows.blocks = in.width / kProductBlock;
    rows.q = reinterpret_cast<std::int8_t*>(scratch);
    rows.d = reinterpret_cast<float*>(rows.q + kGroup * in.width);
    rows.sums = reinterpret_cast<std::int16_t*>(rows.d + kGroup * rows.blocks * 8);
    quantise(in, row, rows);
    Octet octets[kOctetBlocks] = {};  // Lanes that nothing is put into count for nothing, but must not be slow numbers.
    for (std::int64_t n = begin; n < end; n += kOutputs) {
      const int outputs = static_cast<int>(end - n < kOutputs ? end - n : kOutputs);
      float results[kGroup];
      multiply(in.weights + static_cast<std::size_t>(n) * in.weights_row, static_cast<std::int64_t>(in.weights_row), outputs, rows, octets, results);
      for (int i = 0; i < outputs; ++i) {
        for (int r = 0; r < Rows; ++r)
          __builtin_memcpy(in.out + static_cast<std::size_t>(row + r) * in.out_row + static_cast<std::size_t>(n + i) * sizeof(float), &results[i * Rows + r], sizeof(float));
      }
    }
  }

 private:
  static constexpr int kOutputs = kGroup / Rows;

  // The sums over all blocks.
  __m256 products = _mm256_setzero_ps();
  __m256 offsets = _mm256_setzero_ps();

  static void quantise(const ProductInput& in, std::int64_t row, const Activations& to) {
    for (std::int64_t r = 0; r < Rows; ++r) {
      const auto* from = reinterpret_cast<const float*>(in.activations + static_cast<std::size_t>(row + r) * in.activations_row);
      for (std::int64_t b = 0; b < to.blocks; ++b) {
        const std::int64_t at = r * to.blocks + b;
        if constexpr (Format::kWholeScales) {
          float d = 0;
          Isa::template quantise_block<Format::kOrder>(from + b * kProductBlock, to.q + at * kProductBlock, d, to.sums + at * 16);
          for (std::int64_t lane = r; lane < kGroup; lane += Rows) to.d[b * kGroup + lane] = d;
        } else {
          Isa::template quantise_32s<Format::kOrder>(from + b * kProductBlock, to.q + at * kProductBlock, to.d + at * 8, to.sums + at * 16);
        }
      }
    }
  }

  // `outputs` rows of weights, at most kOutputs. Results: [output][row].
  INLINED static void multiply(const std::byte* weights, std::int64_t stride, int outputs, const Activations& rows, Octet* octets, float* results) {
    Octets sums;
    for (std::int64_t b = 0; b < rows.blocks; b += kOctetBlocks) {
      const std::int64_t end = rows.blocks - b < kOctetBlocks ? rows.blocks : b + kOctetBlocks;
      for (int n = 0; n < outputs; ++n) fill(weights + n * stride, rows, b, end, octets, n);
      for (std::int64_t i = b; i < end; ++i) {
        if constexpr (Format::kWholeScales) sums.add(octets[i - b], rows.d + i * kGroup);
        else sums.add_parts(octets[i - b]);
      }
    }
    _mm256_storeu_ps(results, _mm256_sub_ps(sums.products, sums.offsets));
  }

  // Blocks [begin, end) of output n.
  INLINED static void fill(const std::byte* weights, const Activations& rows, std::int64_t begin, std::int64_t end, Octet* octets, int n) {
    for (std::int64_t b = begin; b < end; ++b) {
      const std::byte* at = weights + b * Format::kBytes;
      for (std::int64_t line = 0; line < Format::kBytes; line += 64) __builtin_prefetch(at + kAhead + line, 0, 2);
      const std::int8_t* q = rows.q + b * kProductBlock;
      const std::int16_t* row_sums = rows.sums + b * 16;
      Octet& octet = octets[b - begin];
      if constexpr (Format::kWholeScales) {
        __m256i of_products[Rows], of_offsets[Rows];
        Isa::template block_sums<Format, Rows>(at, rows.blocks, q, row_sums, octet.scales[n], octet.offsets[n], of_products, of_offsets);
        for (int r = 0; r < Rows; ++r) octet.lanes[n * Rows + r] = Format::kOneFactor ? of_products[r] : _mm256_hadd_epi32(of_products[r], of_offsets[r]);
      } else {
        __m256 of_parts[Rows];
        Isa::template part_products<Format, Rows>(at, rows.blocks, q, row_sums, rows.d + b * 8, of_parts);
        for (int r = 0; r < Rows; ++r) octet.lanes[n * Rows + r] = _mm256_castps_si256(of_parts[r]);
      }
    }
  }

  INLINED void add_parts(const Octet& octet) {
    __m256i of_parts[8];
    transpose(octet.lanes, of_parts);
    for (const __m256i& part : of_parts) products = _mm256_add_ps(products, _mm256_castsi256_ps(part));
  }

  // What each output has, for each row.
  INLINED static __m256 spread(const float* of_outputs) {
    constexpr auto kOf = [](int lane) { return lane / Rows; };
    return _mm256_permutevar8x32_ps(_mm256_loadu_ps(of_outputs), _mm256_setr_epi32(kOf(0), kOf(1), kOf(2), kOf(3), kOf(4), kOf(5), kOf(6), kOf(7)));
  }

  // `d`: scales of the activations of each product.
  INLINED void add(const Octet& octet, const float* d) {
    const __m256 scales = _mm256_mul_ps(_mm256_load_ps(d), spread(octet.scales));
    if constexpr (Format::kOneFactor) {
      products = _mm256_fmadd_ps(_mm256_cvtepi32_ps(lane_sums(octet.lanes)), scales, products);
    } else {
      __m256i pairs[4];
      for (int i = 0; i < 4; ++i) pairs[i] = _mm256_hadd_epi32(octet.lanes[2 * i], octet.lanes[2 * i + 1]);
      // Products in even lanes, offsets in odd ones; of 0, 1, 4 and 5, and of 2, 3, 6 and 7.
      const __m256 a = _mm256_castsi256_ps(add_halves(pairs[0], pairs[2])), b = _mm256_castsi256_ps(add_halves(pairs[1], pairs[3]));
      const __m256i of_products = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)), of_offsets = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xDD));
      products = _mm256_fmadd_ps(_mm256_cvtepi32_ps(of_products), scales, products);
      offsets = _mm256_fmadd_ps(_mm256_cvtepi32_ps(of_offsets), _mm256_mul_ps(_mm256_load_ps(d), spread(octet.offsets)), offsets);
    }
  }
};

}  // namespace
}  // namespace pensieve
