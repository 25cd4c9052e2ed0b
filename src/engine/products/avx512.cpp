// Compiled for AVX-512 with VNNI (dot products of bytes); called only where the processor has them.
//
// Every format is brought to one shape. A block of 256 weights is four vectors u of 64 unsigned
// bytes, for each a vector s of small whole scales (a lane for the four weights whose products
// the dot product leaves in it), small whole offsets m of the 16 parts of the block, and two factors:
//   weight = scale * s * u - offset * m.
// With activations a = d * q the block gives, the part in brackets in whole numbers,
//   d * scale * [sum(s * dot(u, q))] - d * offset * [sum(m * (sum of q over the part))].
// The bytes of the activations lie in the order in which the format yields its weights, so that
// unpacking need not bring those in order.
#include <immintrin.h>

#include "engine/products/products.h"

namespace pensieve {
namespace {

constexpr int kGroup = 8;  // Rows that are multiplied together: so many sums stay in registers.

#define INLINED [[gnu::always_inline]] inline  // A block that went through memory would cost half the speed.

struct Block {
  __m512i u[4];
  __m512i s[4];  // The upper half of each lane is 0.
  __m256i m;     // Sixteen 16-bit numbers.
  float scale;
  float offset;
};

// A tile of rows as bytes, in groups of kGroup; what `scratch` holds.
struct Activations {
  std::int8_t* q;      // [row][width], in the format's order
  std::int16_t* sums;  // [row][block][16], in the order of the numbers
  float* d;            // [group][block][kGroup]: those of a block are multiplied together
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

INLINED __m128i load_16(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }
INLINED __m512i load_64(const std::byte* from) { return _mm512_loadu_si512(from); }
// 32 bytes from each of two places.
INLINED __m512i load_32_32(const std::byte* a, const std::byte* b) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(a));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(b)), 1);
}

// In lanes 0-7 the one, in lanes 8-15 the other.
constexpr long long twice(int lane) { return (static_cast<long long>(lane) << 32) | lane; }
INLINED __m512i halves(__m512i from, int a, int b) {
  const __m512i lanes = _mm512_set_epi64(twice(b), twice(b), twice(b), twice(b), twice(a), twice(a), twice(a), twice(a));
  return _mm512_permutexvar_epi32(lanes, from);
}
// Four lanes of each.
INLINED __m512i quarters(__m512i from, int a, int b, int c, int d) {
  const __m512i lanes = _mm512_set_epi64(twice(d), twice(d), twice(c), twice(c), twice(b), twice(b), twice(a), twice(a));
  return _mm512_permutexvar_epi32(lanes, from);
}
INLINED __m512i bytes_by(char low, char high) {
  return _mm512_inserti64x4(_mm512_set1_epi8(low), _mm256_set1_epi8(high), 1);
}

// Q4_K and Q5_K: two factors, then scales and offsets of eight parts of 32, 6 bits each, in twelve bytes.
INLINED void six_bit_scales(const std::byte* at, Block& block) {
  const std::uint32_t a = word_at(at + 4), b = word_at(at + 8), c = word_at(at + 12);
  const std::uint32_t scales_high = (c & 0x0F0F0F0Fu) | (((a >> 6) & 0x03030303u) << 4);
  const std::uint32_t offsets_high = ((c >> 4) & 0x0F0F0F0Fu) | (((b >> 6) & 0x03030303u) << 4);
  const __m128i scales = _mm_set_epi32(0, 0, static_cast<int>(scales_high), static_cast<int>(a & 0x3F3F3F3Fu));
  const __m128i offsets = _mm_set_epi32(0, 0, static_cast<int>(offsets_high), static_cast<int>(b & 0x3F3F3F3Fu));
  const __m512i eight = _mm512_cvtepu8_epi32(scales);
  block.s[0] = halves(eight, 0, 2), block.s[1] = halves(eight, 1, 3);
  block.s[2] = halves(eight, 4, 6), block.s[3] = halves(eight, 5, 7);
  block.m = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(offsets, offsets));  // A part of 32 is two of 16.
  block.scale = half_at(at);
  block.offset = half_at(at + 2);
}

// Parts of 32 in each 64 bytes: low nibbles the first and the third, high nibbles the second and the fourth.
constexpr int kOrderOfNibbles[8] = {0, 2, 1, 3, 4, 6, 5, 7};

struct Q4K {
  static constexpr std::int64_t kBytes = 144;
  static constexpr const int (&kOrder)[8] = kOrderOfNibbles;
  INLINED static void unpack(const std::byte* at, Block& block) {
    six_bit_scales(at, block);
    const __m512i low = _mm512_set1_epi8(0x0F);
    for (int i = 0; i < 2; ++i) {
      const __m512i bytes = load_64(at + 16 + 64 * i);
      block.u[2 * i] = _mm512_and_si512(bytes, low);
      block.u[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
    }
  }
};

struct Q5K {
  static constexpr std::int64_t kBytes = 176;
  static constexpr const int (&kOrder)[8] = kOrderOfNibbles;
  INLINED static void unpack(const std::byte* at, Block& block) {
    six_bit_scales(at, block);
    const __m512i low = _mm512_set1_epi8(0x0F), sixteen = _mm512_set1_epi8(16);
    const __m512i fifths = load_32_32(at + 16, at + 16);  // Bit i belongs to part i.
    const __m512i bits[4] = {bytes_by(1, 4), bytes_by(2, 8), bytes_by(16, 64), bytes_by(32, static_cast<char>(128))};
    for (int i = 0; i < 2; ++i) {
      const __m512i bytes = load_64(at + 48 + 64 * i);
      const __m512i first = _mm512_and_si512(bytes, low), second = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
      block.u[2 * i] = _mm512_mask_add_epi8(first, _mm512_test_epi8_mask(fifths, bits[2 * i]), first, sixteen);
      block.u[2 * i + 1] = _mm512_mask_add_epi8(second, _mm512_test_epi8_mask(fifths, bits[2 * i + 1]), second, sixteen);
    }
  }
};

struct Q6K {
  static constexpr std::int64_t kBytes = 210;
  static constexpr int kOrder[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  INLINED static void unpack(const std::byte* at, Block& block) {
    const __m512i low = _mm512_set1_epi8(0x0F), high = _mm512_set1_epi8(0x30);
    const __m512i even = load_32_32(at, at + 64), odd = load_32_32(at + 32, at + 96);  // Low four bits of parts 0 and 2, 1 and 3; 4 and 6, 5 and 7.
    const __m512i upper = load_64(at + 128);                                           // High two bits of parts 0 to 3; 4 to 7.
    constexpr int kOrWithMasked = 0xF8;  // a | (b & c)
    block.u[0] = _mm512_ternarylogic_epi64(_mm512_and_si512(even, low), _mm512_slli_epi16(upper, 4), high, kOrWithMasked);
    block.u[1] = _mm512_ternarylogic_epi64(_mm512_and_si512(odd, low), _mm512_slli_epi16(upper, 2), high, kOrWithMasked);
    block.u[2] = _mm512_ternarylogic_epi64(_mm512_and_si512(_mm512_srli_epi16(even, 4), low), upper, high, kOrWithMasked);
    block.u[3] = _mm512_ternarylogic_epi64(_mm512_and_si512(_mm512_srli_epi16(odd, 4), low), _mm512_srli_epi16(upper, 2), high, kOrWithMasked);
    const __m128i scales = load_16(at + 192);  // Signed, of parts of 16.
    const __m512i sixteen = _mm512_and_si512(_mm512_cvtepi8_epi32(scales), _mm512_set1_epi32(0xFFFF));
    block.s[0] = quarters(sixteen, 0, 1, 8, 9), block.s[1] = quarters(sixteen, 2, 3, 10, 11);
    block.s[2] = quarters(sixteen, 4, 5, 12, 13), block.s[3] = quarters(sixteen, 6, 7, 14, 15);
    block.m = _mm256_cvtepi8_epi16(scales);
    block.scale = half_at(at + 208);
    block.offset = 32 * block.scale;
  }
};

// How far ahead weights are asked for, into the second cache. One row of a large matrix waits for memory: without this it
// went at 0.8 of the engine's pace, with it at 1.0 to 1.3 (bench/products.cpp; 2 KiB and the first cache: 0.85 to 1.2).
constexpr std::int64_t kAhead = 8192;

// `Rows` products of one row of weights, of a tile's rows from `first` on. The steps of a row are the same whatever Rows is.
// A dot product of four stays below 63 * 127 * 4 = 32,004: it fits the lower half of its lane, and what the
// sign puts into the upper one meets the zero there.
template <typename Format, int Rows>
INLINED void multiply(const std::byte* weights, const Activations& rows, std::int64_t first, bool ask_ahead, float* out) {
  __m512 sums[Rows];
  __m256 offsets[Rows];
  for (int r = 0; r < Rows; ++r) sums[r] = _mm512_setzero_ps(), offsets[r] = _mm256_setzero_ps();
  const std::int64_t run = rows.blocks * kProductBlock;
  const std::int8_t* row_q = rows.q + first * run;
  const std::int16_t* row_sums = rows.sums + first * rows.blocks * 16;
  const float* row_d = rows.d + first * rows.blocks;
  for (std::int64_t b = 0; b < rows.blocks; ++b, row_q += kProductBlock, row_sums += 16, row_d += kGroup) {
    const std::byte* at = weights + b * Format::kBytes;
    if (ask_ahead) {
      for (std::int64_t line = 0; line < Format::kBytes; line += 64) __builtin_prefetch(at + kAhead + line, 0, 2);
    }
    Block block;
    Format::unpack(at, block);
    alignas(32) float scales[kGroup], factors[kGroup];
    const __m256 d = _mm256_load_ps(row_d);
    _mm256_store_ps(scales, _mm256_mul_ps(d, _mm256_set1_ps(block.scale)));
    _mm256_store_ps(factors, _mm256_mul_ps(d, _mm256_set1_ps(block.offset)));
    for (int r = 0; r < Rows; ++r) {
      const std::int8_t* q = row_q + r * run;
      __m512i whole = _mm512_setzero_si512();
      for (int i = 0; i < 4; ++i) {
        const __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), block.u[i], _mm512_load_si512(q + 64 * i));
        whole = _mm512_dpwssd_epi32(whole, dot, block.s[i]);
      }
      const __m256i parts = _mm256_madd_epi16(block.m, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * rows.blocks * 16)));
      sums[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(scales[r]), sums[r]);
      offsets[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(parts), _mm256_set1_ps(factors[r]), offsets[r]);
    }
  }
  for (int r = 0; r < Rows; ++r)
    out[r] = _mm512_reduce_add_ps(_mm512_sub_ps(sums[r], _mm512_zextps256_ps512(offsets[r])));
}

// 256 numbers as bytes in the given order of parts of 32, their scale, and the sums of each sixteen.
void quantise_block(const float* from, const int (&order)[8], std::int8_t* q, float& d, std::int16_t* sums) {
  __m512 largest = _mm512_setzero_ps();
  for (int i = 0; i < 16; ++i) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from + 16 * i)));
  const float most = _mm512_reduce_max_ps(largest);
  d = most / 127;
  const __m512 inverse = _mm512_set1_ps(most > 0 ? 127 / most : 0);
  for (int place = 0; place < 8; ++place) {
    for (int i = 0; i < 2; ++i) {
      const int sixteen = 2 * order[place] + i;
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + 16 * sixteen), inverse));
      _mm_store_si128(reinterpret_cast<__m128i*>(q + 32 * place + 16 * i), _mm512_cvtsepi32_epi8(whole));
      sums[sixteen] = static_cast<std::int16_t>(_mm512_reduce_add_epi32(whole));
    }
  }
}

// Rows [begin, end) of the input, the tile's from 0 on. Scales of a group that no row has are 0: what lies there
// from before may be numbers so small that each product with one costs a hundred cycles.
template <typename Format>
void quantise(const ProductInput& in, std::int64_t begin, std::int64_t end, const Activations& to) {
  const std::int64_t rows = end - begin;
  for (std::int64_t r = rows; r % kGroup != 0; ++r) {
    for (std::int64_t b = 0; b < to.blocks; ++b) to.d[(r / kGroup * to.blocks + b) * kGroup + r % kGroup] = 0;
  }
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto* from = reinterpret_cast<const float*>(in.activations + static_cast<std::size_t>(begin + r) * in.activations_row);
    for (std::int64_t b = 0; b < to.blocks; ++b) {
      const std::int64_t at = r * to.blocks + b;
      quantise_block(from + b * kProductBlock, Format::kOrder, to.q + at * kProductBlock, to.d[(r / kGroup * to.blocks + b) * kGroup + r % kGroup], to.sums + at * 16);
    }
  }
}

// Outputs [begin, end) of a group of the tile's rows.
template <typename Format, int Rows>
void outputs_of_group(const ProductInput& in, const Activations& tile, std::int64_t first, std::int64_t row, std::int64_t begin, std::int64_t end, bool ask_ahead) {
  for (std::int64_t n = begin; n < end; ++n) {
    float results[Rows];
    multiply<Format, Rows>(in.weights + static_cast<std::size_t>(n) * in.weights_row, tile, first, ask_ahead, results);
    for (int r = 0; r < Rows; ++r)
      __builtin_memcpy(in.out + static_cast<std::size_t>(row + r) * in.out_row + static_cast<std::size_t>(n) * sizeof(float), &results[r], sizeof(float));
  }
}

// Weights that are worked on with all rows of a tile before the next come: they stay in the second cache.
constexpr std::int64_t kChunkBytes = 64 << 10;

// Rows [row_begin, row_end) and outputs [begin, end): what is one thread's.
template <typename Format>
void run_range(const ProductInput& in, std::int64_t row_begin, std::int64_t row_end, std::int64_t begin, std::int64_t end, std::byte* scratch) {
  const std::int64_t blocks = in.width / kProductBlock;
  const std::int64_t most = in.rows < kProductTileRows ? (in.rows + kGroup - 1) / kGroup * kGroup : kProductTileRows;
  Activations tile;
  tile.q = reinterpret_cast<std::int8_t*>(scratch);
  tile.d = reinterpret_cast<float*>(tile.q + most * in.width);
  tile.sums = reinterpret_cast<std::int16_t*>(tile.d + most * blocks);
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
void run_format(const ProductInput& in, int part, int parts, std::byte* scratch) {
  const std::int64_t groups = in.rows / kGroup;
  const std::int64_t most = (groups + parts - 1) / parts;
  if (groups >= 2 * parts && (most * parts - groups) * in.outputs < 6 * parts * groups) {
    const std::int64_t row_end = part + 1 == parts ? in.rows : groups * (part + 1) / parts * kGroup;
    return run_range<Format>(in, groups * part / parts * kGroup, row_end, 0, in.outputs, scratch);
  }
  run_range<Format>(in, 0, in.rows, in.outputs * part / parts, in.outputs * (part + 1) / parts, scratch);
}

void run(const ProductInput& in, int part, int parts, std::byte* scratch) {
  switch (in.format) {
    case WeightFormat::q4_k: return run_format<Q4K>(in, part, parts, scratch);
    case WeightFormat::q5_k: return run_format<Q5K>(in, part, parts, scratch);
    case WeightFormat::q6_k: return run_format<Q6K>(in, part, parts, scratch);
  }
}

}  // namespace

extern const ProductKernel kProductsAvx512;
const ProductKernel kProductsAvx512{"avx512-vnni", &run};

}  // namespace pensieve
