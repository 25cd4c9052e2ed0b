// Compiled for AVX-512 with VNNI (dot products of bytes); called only where the processor has them.
//
// A block of 256 weights is four vectors u of 64 unsigned bytes, and for each a vector s of scales: a lane for the four weights whose
// products the dot product leaves in it.
#include <immintrin.h>

#include "engine/products/kernel.h"

namespace pensieve {
namespace {

struct Block {
  __m512i u[4];
  __m512i s[4];  // The upper half of each lane is 0.
  __m256i m;     // Sixteen 16-bit numbers.
  float scale;
  float offset;
};

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

INLINED void six_bit_scales(const std::byte* at, Block& block) {
  const auto [scales, offsets] = six_bits(at);
  const __m512i eight = _mm512_cvtepu8_epi32(scales);
  block.s[0] = halves(eight, 0, 2), block.s[1] = halves(eight, 1, 3);
  block.s[2] = halves(eight, 4, 6), block.s[3] = halves(eight, 5, 7);
  block.m = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(offsets, offsets));  // A part of 32 is two of 16.
  block.scale = half_at(at);
  block.offset = half_at(at + 2);
}

// Of a format of blocks of 32: vectors u, of which those of a sum belong to the same parts; for each sum the scales of the lanes.
struct Parts {
  __m512i u[4];
  __m512 scales[4];
  __m256 offsets;
};

// Parts of 32 in each 64 bytes: low nibbles the first and the third, high nibbles the second and the fourth.
constexpr Order kOrderOfNibbles = order_of_32s({0, 2, 1, 3, 4, 6, 5, 7});

// Sixteen bytes from each of four parts: low nibbles are their first halves, high nibbles their second.
INLINED void nibbles_of_32s(const std::byte* first, std::int64_t stride, Parts& parts) {
  const __m512i low = _mm512_set1_epi8(0x0F);
  for (int i = 0; i < 2; ++i) {
    const std::byte* at = first + 4 * i * stride;
    __m512i bytes = _mm512_castsi128_si512(load_16(at));
    bytes = _mm512_inserti32x4(bytes, load_16(at + stride), 1);
    bytes = _mm512_inserti32x4(bytes, load_16(at + 2 * stride), 2);
    bytes = _mm512_inserti32x4(bytes, load_16(at + 3 * stride), 3);
    parts.u[2 * i] = _mm512_and_si512(bytes, low);
    parts.u[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), low);
  }
}
constexpr Order kOrderOfNibblesOf32s = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};

// A lane of the eight numbers for each four of ours, from number `a` on.
INLINED __m512 four_times(__m256 eight, int a) {
  const __m512i lanes = _mm512_add_epi32(_mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0), _mm512_set1_epi32(a));
  return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(eight));
}
INLINED __m512 eight_times(__m256 eight, int a) {
  const __m512i lanes = _mm512_add_epi32(_mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0), _mm512_set1_epi32(a));
  return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(eight));
}

struct Avx512 {
  struct Q4K {
    static constexpr std::int64_t kBytes = 144;
    static constexpr bool kWholeScales = true;
    static constexpr const Order& kOrder = kOrderOfNibbles;
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
    static constexpr bool kWholeScales = true;
    static constexpr const Order& kOrder = kOrderOfNibbles;
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
    static constexpr bool kWholeScales = true;
    static constexpr Order kOrder = order_of_32s({0, 4, 1, 5, 2, 6, 3, 7});
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

  // Blocks of 32 of `Stride` bytes, `Head` of them before the nibbles.
  template <std::int64_t Stride, std::int64_t Head>
  struct NibblesOf32 {
    static constexpr std::int64_t kBytes = 8 * Stride;
    static constexpr bool kWholeScales = false;
    static constexpr int kSums = 2;
    static constexpr const Order& kOrder = kOrderOfNibblesOf32s;
    INLINED static __m512 in_lanes(__m256 of_parts, int sum) { return four_times(of_parts, 4 * sum); }
    INLINED static __m256 unpack_all_but_offsets(const std::byte* at, Parts& parts) {
      nibbles_of_32s(at + Head, Stride, parts);
      const __m256 scales = eight_halves(at, Stride);
      parts.scales[0] = in_lanes(scales, 0), parts.scales[1] = in_lanes(scales, 1);
      return scales;
    }
  };

  struct Q4_0 : NibblesOf32<18, 2> {
    INLINED static void unpack(const std::byte* at, Parts& parts) { parts.offsets = _mm256_mul_ps(unpack_all_but_offsets(at, parts), _mm256_set1_ps(8)); }
  };

  struct Q4_1 : NibblesOf32<20, 4> {
    INLINED static void unpack(const std::byte* at, Parts& parts) {
      unpack_all_but_offsets(at, parts);
      parts.offsets = _mm256_xor_ps(eight_halves(at + 2, 20), _mm256_set1_ps(-0.0f));
    }
  };

  struct Q8_0 {
    static constexpr std::int64_t kStride = 34, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false;
    static constexpr int kSums = 4;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m512 in_lanes(__m256 of_parts, int sum) { return eight_times(of_parts, 2 * sum); }
    INLINED static void unpack(const std::byte* at, Parts& parts) {
      const __m256 scales = eight_halves(at, kStride);
      for (int i = 0; i < 4; ++i) {
        // Signed; 128 more, as unsigned bytes, is another first bit.
        parts.u[i] = _mm512_xor_si512(load_32_32(at + 2 + 2 * i * kStride, at + 2 + (2 * i + 1) * kStride), _mm512_set1_epi8(static_cast<char>(0x80)));
        parts.scales[i] = in_lanes(scales, i);
      }
      parts.offsets = _mm256_mul_ps(scales, _mm256_set1_ps(128));
    }
  };

  template <int Rows>
  struct Sums {
    __m512 products[Rows];
    __m256 offsets[Rows];
    INLINED Sums() {
      for (int r = 0; r < Rows; ++r) products[r] = _mm512_setzero_ps(), offsets[r] = _mm256_setzero_ps();
    }
  };

  // One block of weights with the same of a row: what the sums of all blocks are made of.
  // A dot product of four stays below 63 * 127 * 4 = 32,004: it fits the lower half of its lane, and what the
  // sign puts into the upper one meets the zero there.
  template <typename Format, int Rows>
  INLINED static void add_block(const std::byte* at, const Activations& rows, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, Sums<Rows>& to)
    requires(Format::kWholeScales)
  {
    Block block;
    Format::unpack(at, block);
    alignas(32) float scales[kGroup], factors[kGroup];
    const __m256 d = _mm256_load_ps(row_d);
    _mm256_store_ps(scales, _mm256_mul_ps(d, _mm256_set1_ps(block.scale)));
    _mm256_store_ps(factors, _mm256_mul_ps(d, _mm256_set1_ps(block.offset)));
    for (int r = 0; r < Rows; ++r) {
      const std::int8_t* q = row_q + r * rows.blocks * kProductBlock;
      __m512i whole = _mm512_setzero_si512();
      for (int i = 0; i < 4; ++i) {
        const __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), block.u[i], _mm512_load_si512(q + 64 * i));
        whole = _mm512_dpwssd_epi32(whole, dot, block.s[i]);
      }
      const __m256i parts = _mm256_madd_epi16(block.m, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * rows.blocks * 16)));
      to.products[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(scales[r]), to.products[r]);
      to.offsets[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(parts), _mm256_set1_ps(factors[r]), to.offsets[r]);
    }
  }

  template <typename Format, int Rows>
  INLINED static void add_block(const std::byte* at, const Activations& rows, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, Sums<Rows>& to) {
    Parts parts;
    Format::unpack(at, parts);
    constexpr int kVectors = 4 / Format::kSums;  // Of a sum.
    for (int r = 0; r < Rows; ++r) {
      const std::int8_t* q = row_q + r * rows.blocks * kProductBlock;
      const __m256 d = _mm256_load_ps(row_d + r * rows.blocks * 8);
      for (int sum = 0; sum < Format::kSums; ++sum) {
        __m512i dot = _mm512_setzero_si512();
        for (int i = sum * kVectors; i < (sum + 1) * kVectors; ++i) dot = _mm512_dpbusd_epi32(dot, parts.u[i], _mm512_load_si512(q + 64 * i));
        to.products[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(parts.scales[sum], Format::in_lanes(d, sum)), to.products[r]);
      }
      const __m256i of_32s = _mm256_madd_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * rows.blocks * 16)), _mm256_set1_epi16(1));
      to.offsets[r] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(of_32s), d), parts.offsets, to.offsets[r]);
    }
  }

  template <int Rows>
  INLINED static void totals(const Sums<Rows>& sums, float* out) {
    for (int r = 0; r < Rows; ++r)
      out[r] = _mm512_reduce_add_ps(_mm512_sub_ps(sums.products[r], _mm512_zextps256_ps512(sums.offsets[r])));
  }

  // 256 numbers as bytes in the given order, their scale, and the sums of each sixteen.
  static void quantise_block(const float* from, const Order& order, std::int8_t* q, float& d, std::int16_t* sums) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < 16; ++i) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from + 16 * i)));
    const float most = _mm512_reduce_max_ps(largest);
    d = most / 127;
    const __m512 inverse = _mm512_set1_ps(most > 0 ? 127 / most : 0);
    for (int place = 0; place < 16; ++place) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + 16 * order.of[place]), inverse));
      _mm_store_si128(reinterpret_cast<__m128i*>(q + 16 * place), _mm512_cvtsepi32_epi8(whole));
      sums[order.of[place]] = static_cast<std::int16_t>(_mm512_reduce_add_epi32(whole));
    }
  }

  static void quantise_32s(const float* from, const Order& order, std::int8_t* q, float* d, std::int16_t* sums) {
    __m512 inverse[8];
    for (int part = 0; part < 8; ++part) {
      const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(from + 32 * part)), _mm512_abs_ps(_mm512_loadu_ps(from + 32 * part + 16))));
      d[part] = most / 127;
      inverse[part] = _mm512_set1_ps(most > 0 ? 127 / most : 0);
    }
    for (int place = 0; place < 16; ++place) {
      const int sixteen = order.of[place];
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + 16 * sixteen), inverse[sixteen / 2]));
      _mm_store_si128(reinterpret_cast<__m128i*>(q + 16 * place), _mm512_cvtsepi32_epi8(whole));
      sums[sixteen] = static_cast<std::int16_t>(_mm512_reduce_add_epi32(whole));
    }
  }
};

}  // namespace

extern const ProductKernel kProductsAvx512;
const ProductKernel kProductsAvx512{"avx512-vnni", InstructionSet::avx512, &Products<Avx512>::run};

}  // namespace pensieve
