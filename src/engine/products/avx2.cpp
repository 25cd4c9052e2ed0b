// Compiled for AVX2, FMA and F16C; called only where the processor has them.
//
// A part of 32 weights is one vector u of unsigned bytes. Multiplied with bytes of activations, two neighbours are added in 16 bits (at
// most 2 * 63 * 127 = 16,002, so nothing is cut off); times the small scale of their part, two of those in 32. Parts are unpacked
// two at a time, and used for all rows of a group before the next two: all that stays in sixteen registers. In formats without whole
// scales a part's sums become floats, and are multiplied by its scale; signed weights give their signs to the activations (2 * 128 * 127).
#include <immintrin.h>

#include "engine/products/kernel.h"

namespace pensieve {
namespace {

INLINED __m256i load_32(const std::byte* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
INLINED __m256i both(__m128i half) { return _mm256_broadcastsi128_si256(half); }
INLINED __m256i low_bits(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(0x0F)); }
INLINED __m256i high_bits(__m256i bytes) { return low_bits(_mm256_srli_epi16(bytes, 4)); }

// The 16-bit number at `a` in the lower half's lanes, that at `b` in the upper half's; of numbers that lie in both halves.
INLINED __m256i spread(__m256i numbers, int a, int b) {
  const __m128i low = _mm_set1_epi16(static_cast<short>((2 * a + 1) << 8 | 2 * a)), high = _mm_set1_epi16(static_cast<short>((2 * b + 1) << 8 | 2 * b));
  return _mm256_shuffle_epi8(numbers, _mm256_set_m128i(high, low));
}

// What a block has beside its weights.
struct Scales {
  __m256i first, second;  // Of parts 0 to 3 and 4 to 7; both halves alike.
  __m256i m;              // Offsets of the parts of 16.
  float scale, offset;
};

INLINED Scales six_bit_scales(const std::byte* at) {
  const auto [scales, offsets] = six_bits(at);
  const __m256i eight = both(_mm_cvtepu8_epi16(scales));
  return {eight, eight, _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(offsets, offsets)), half_at(at), half_at(at + 2)};  // A part of 32 is two of 16.
}

// Low nibbles are the first half, high nibbles the second.
INLINED __m256i nibbles_of_32(const std::byte* at) {
  const __m128i bytes = load_16(at);
  return low_bits(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes));
}

float sum_of(__m256 v) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

struct Avx2 {
  // `Format::unpack`: parts a and b of the pair `i` of four, and the scale of each.
  struct Pair {
    __m256i a, b;
    __m256i scale_a, scale_b;
  };

  struct Q4K {
    static constexpr std::int64_t kBytes = 144;
    static constexpr bool kWholeScales = true;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static Scales scales(const std::byte* at) { return six_bit_scales(at); }
    INLINED static Pair unpack(const std::byte* at, const Scales& scales, int i) {
      const __m256i bytes = load_32(at + 16 + 32 * i);
      return {low_bits(bytes), high_bits(bytes), spread(scales.first, 2 * i, 2 * i), spread(scales.first, 2 * i + 1, 2 * i + 1)};
    }
  };

  struct Q5K {
    static constexpr std::int64_t kBytes = 176;
    static constexpr bool kWholeScales = true;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static Scales scales(const std::byte* at) { return six_bit_scales(at); }
    INLINED static Pair unpack(const std::byte* at, const Scales& scales, int i) {
      const __m256i bytes = load_32(at + 48 + 32 * i);
      const __m256i fifths = load_32(at + 16);  // Bit p belongs to part p.
      const __m256i bit = _mm256_set1_epi8(16);
      // Where a shift of 16-bit lanes brings in a neighbour's bits, the mask drops them.
      const auto fifth = [&](int part) { return _mm256_and_si256(part < 4 ? _mm256_slli_epi16(fifths, 4 - part) : _mm256_srli_epi16(fifths, part - 4), bit); };
      return {_mm256_or_si256(low_bits(bytes), fifth(2 * i)), _mm256_or_si256(high_bits(bytes), fifth(2 * i + 1)), spread(scales.first, 2 * i, 2 * i), spread(scales.first, 2 * i + 1, 2 * i + 1)};
    }
  };

  struct Q6K {
    static constexpr std::int64_t kBytes = 210;
    // Each half of a block: low four bits of parts 0 and 2 in its first 32 bytes, of 1 and 3 in the next.
    static constexpr bool kWholeScales = true;
    static constexpr Order kOrder = order_of_32s({0, 2, 1, 3, 4, 6, 5, 7});
    INLINED static Scales scales(const std::byte* at) {
      const __m256i sixteen = _mm256_cvtepi8_epi16(load_16(at + 192));  // Signed, of parts of 16.
      const float scale = half_at(at + 208);
      return {both(_mm256_castsi256_si128(sixteen)), both(_mm256_extracti128_si256(sixteen, 1)), sixteen, scale, 32 * scale};
    }
    INLINED static Pair unpack(const std::byte* at, const Scales& scales, int i) {
      const __m256i bytes = load_32(at + 32 * i);
      const __m256i upper = load_32(at + 128 + 32 * (i / 2));  // Two bits for each part of this half, the first part's lowest.
      const __m256i mask = _mm256_set1_epi8(0x30);
      const __m256i& numbers = i < 2 ? scales.first : scales.second;
      const bool odd = i % 2 != 0;  // Parts 1 and 3 of the half, or 0 and 2.
      const __m256i upper_a = _mm256_and_si256(_mm256_slli_epi16(upper, odd ? 2 : 4), mask);
      const __m256i upper_b = _mm256_and_si256(odd ? _mm256_srli_epi16(upper, 2) : upper, mask);
      const int a = odd ? 2 : 0;  // The first of its part's two scales.
      return {_mm256_or_si256(low_bits(bytes), upper_a), _mm256_or_si256(high_bits(bytes), upper_b), spread(numbers, a, a + 1), spread(numbers, a + 4, a + 5)};
    }
  };

  // Formats of blocks of 32. A part's bytes in natural order; signed ones where kSigned, which have no offset.
  struct Q4_0 {
    static constexpr std::int64_t kStride = 18, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kSigned = false;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return nibbles_of_32(at + part * kStride + 2); }
    INLINED static __m256 offsets(const std::byte*, __m256 scales) { return _mm256_mul_ps(scales, _mm256_set1_ps(8)); }
  };

  struct Q4_1 {
    static constexpr std::int64_t kStride = 20, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kSigned = false;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return nibbles_of_32(at + part * kStride + 4); }
    INLINED static __m256 offsets(const std::byte* at, __m256) { return _mm256_xor_ps(eight_halves(at + 2, kStride), _mm256_set1_ps(-0.0f)); }
  };

  struct Q8_0 {
    static constexpr std::int64_t kStride = 34, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kSigned = true;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return load_32(at + part * kStride + 2); }
  };

  template <int Rows>
  struct Sums {
    __m256 products[Rows];
    __m256 offsets[Rows];
    INLINED Sums() {
      for (int r = 0; r < Rows; ++r) products[r] = _mm256_setzero_ps(), offsets[r] = _mm256_setzero_ps();
    }
  };

  // One block of weights with the same of a row: what the sums of all blocks are made of.
  template <typename Format, int Rows>
  INLINED static void add_block(const std::byte* at, const Activations& rows, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, Sums<Rows>& to)
    requires(Format::kWholeScales)
  {
    const std::int64_t run = rows.blocks * kProductBlock;
    const Scales scales = Format::scales(at);
    __m256i whole[Rows];
    for (int r = 0; r < Rows; ++r) whole[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Pair pair = Format::unpack(at, scales, i);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const auto* q = reinterpret_cast<const __m256i*>(row_q + r * run + 64 * i);
        const __m256i of_a = _mm256_madd_epi16(_mm256_maddubs_epi16(pair.a, _mm256_load_si256(q)), pair.scale_a);
        const __m256i of_b = _mm256_madd_epi16(_mm256_maddubs_epi16(pair.b, _mm256_load_si256(q + 1)), pair.scale_b);
        whole[r] = _mm256_add_epi32(whole[r], _mm256_add_epi32(of_a, of_b));
      }
    }
    for (int r = 0; r < Rows; ++r) {
      const __m256 d = _mm256_set1_ps(row_d[r]);
      const __m256i parts = _mm256_madd_epi16(scales.m, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * rows.blocks * 16)));
      to.products[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[r]), _mm256_mul_ps(d, _mm256_set1_ps(scales.scale)), to.products[r]);
      to.offsets[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(parts), _mm256_mul_ps(d, _mm256_set1_ps(scales.offset)), to.offsets[r]);
    }
  }

  template <typename Format, int Rows>
  INLINED static void add_block(const std::byte* at, const Activations& rows, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, Sums<Rows>& to) {
    const std::int64_t run = rows.blocks * kProductBlock;
    const __m256 scales = eight_halves(at, Format::kStride);
    const __m256i ones = _mm256_set1_epi16(1);
    alignas(32) float scale_of[Rows][8];
    for (int r = 0; r < Rows; ++r) _mm256_store_ps(scale_of[r], _mm256_mul_ps(scales, _mm256_load_ps(row_d + r * rows.blocks * 8)));
    __m256 block[Rows];
    for (int r = 0; r < Rows; ++r) block[r] = _mm256_setzero_ps();
    for (int part = 0; part < 8; ++part) {
      const __m256i weights = Format::unpack(at, part);
      const __m256i u = Format::kSigned ? _mm256_abs_epi8(weights) : weights;
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        __m256i q = _mm256_load_si256(reinterpret_cast<const __m256i*>(row_q + r * run + 32 * part));
        if constexpr (Format::kSigned) q = _mm256_sign_epi8(q, weights);
        block[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(u, q), ones)), _mm256_broadcast_ss(&scale_of[r][part]), block[r]);
      }
    }
    for (int r = 0; r < Rows; ++r) to.products[r] = _mm256_add_ps(to.products[r], block[r]);
    if constexpr (!Format::kSigned) {
      const __m256 of_parts = Format::offsets(at, scales);
      for (int r = 0; r < Rows; ++r) {
        const __m256i of_32s = _mm256_madd_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * rows.blocks * 16)), ones);
        to.offsets[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(of_32s), _mm256_load_ps(row_d + r * rows.blocks * 8)), of_parts, to.offsets[r]);
      }
    }
  }

  template <int Rows>
  INLINED static void totals(const Sums<Rows>& sums, float* out) {
    for (int r = 0; r < Rows; ++r) out[r] = sum_of(_mm256_sub_ps(sums.products[r], sums.offsets[r]));
  }

  // The largest of 8 * `eights` numbers, without their signs.
  static float largest_of(const float* from, int eights) {
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < eights; ++i) largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(from + 8 * i)));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
  }

  // Sixteen numbers times `factor` as bytes, and their sum.
  static std::int16_t quantise_16(const float* from, float factor, std::int8_t* q) {
    constexpr int kInOrder = 0xD8;  // Packing goes by halves.
    const __m256 inverse = _mm256_set1_ps(factor);
    const __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), inverse)), second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + 8), inverse));
    const __m256i whole = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), kInOrder);
    const __m128i low = _mm256_castsi256_si128(whole), high = _mm256_extracti128_si256(whole, 1);
    _mm_store_si128(reinterpret_cast<__m128i*>(q), _mm_packs_epi16(low, high));
    __m128i sum = _mm_madd_epi16(_mm_add_epi16(low, high), _mm_set1_epi16(1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
    return static_cast<std::int16_t>(_mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1))));
  }

  static void quantise_block(const float* from, const Order& order, std::int8_t* q, float& d, std::int16_t* sums) {
    const float most = largest_of(from, 32);
    d = most / 127;
    for (int place = 0; place < 16; ++place) sums[order.of[place]] = quantise_16(from + 16 * order.of[place], most > 0 ? 127 / most : 0, q + 16 * place);
  }

  static void quantise_32s(const float* from, const Order& order, std::int8_t* q, float* d, std::int16_t* sums) {
    float factors[8];
    for (int part = 0; part < 8; ++part) {
      const float most = largest_of(from + 32 * part, 4);
      d[part] = most / 127;
      factors[part] = most > 0 ? 127 / most : 0;
    }
    for (int place = 0; place < 16; ++place) sums[order.of[place]] = quantise_16(from + 16 * order.of[place], factors[order.of[place] / 2], q + 16 * place);
  }
};

}  // namespace

extern const ProductKernel kProductsAvx2;
const ProductKernel kProductsAvx2{"avx2", InstructionSet::avx2, &Products<Avx2>::run};

}  // namespace pensieve
