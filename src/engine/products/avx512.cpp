// Compiled for AVX-512 with VNNI (dot products of bytes); called only where the processor has them.
//
// A block of 256 weights is four vectors u of 64 unsigned bytes, and for each a vector s of scales: a lane for the four weights whose
// products the dot product leaves in it. In a panel it is 64 vectors of four weights of each of sixteen outputs.
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

// Of a format of blocks of 32.
struct Parts {
  __m512i u[4];
  __m256 scales, offsets;  // Offsets only where they are no multiples of scales.
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

// The small numbers of a block as lanes: scales in lanes 0-7 and offsets in lanes 8-15.
INLINED __m512i six_bit_numbers(const std::byte* at) {
  const auto [scales, offsets] = six_bits(at);
  return _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(scales, offsets));
}

// Sixteen vectors of sixteen lanes, columns for rows.
INLINED void transpose(const __m512i* from, __m512i* to) {
  __m512i pairs[16], fours[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_epi32(from[i], from[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_epi32(from[i], from[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // fours[i + c]: lane c of each quarter, of rows i to i + 3.
    fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
    fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
    fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  constexpr int kEven = 0x88, kOdd = 0xDD;  // Quarters 0 and 2 of both, 1 and 3 of both.
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(fours[c], fours[4 + c], kEven), b = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], kEven);
    const __m512i d = _mm512_shuffle_i32x4(fours[c], fours[4 + c], kOdd), e = _mm512_shuffle_i32x4(fours[8 + c], fours[12 + c], kOdd);
    to[c] = _mm512_shuffle_i32x4(a, b, kEven);
    to[8 + c] = _mm512_shuffle_i32x4(a, b, kOdd);
    to[4 + c] = _mm512_shuffle_i32x4(d, e, kEven);
    to[12 + c] = _mm512_shuffle_i32x4(d, e, kOdd);
  }
}

struct Avx512 {
  struct Q4K {
    static constexpr std::int64_t kBytes = 144;
    static constexpr bool kWholeScales = true;
    static constexpr bool kOneFactor = false;
    static constexpr int kPartSteps = 8;  // Four weights of each part at a time.
    static constexpr const Order& kOrder = kOrderOfNibbles;
    INLINED static __m512i numbers(const std::byte* at) { return six_bit_numbers(at); }
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
    static constexpr bool kOneFactor = false;
    static constexpr int kPartSteps = 8;
    static constexpr const Order& kOrder = kOrderOfNibbles;
    INLINED static __m512i numbers(const std::byte* at) { return six_bit_numbers(at); }
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
    static constexpr bool kOneFactor = true;
    static constexpr int kOffsetShift = 5;  // Its offset is 32 times its scale.
    static constexpr int kPartSteps = 4;
    static constexpr Order kOrder = order_of_32s({0, 4, 1, 5, 2, 6, 3, 7});
    INLINED static __m512i numbers(const std::byte* at) { return _mm512_cvtepi8_epi32(load_16(at + 192)); }
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
    static constexpr const Order& kOrder = kOrderOfNibblesOf32s;
    INLINED static void unpack(const std::byte* at, Parts& parts) {
      nibbles_of_32s(at + Head, Stride, parts);
      parts.scales = eight_halves(at, Stride);
    }
    // The dot product of each part.
    INLINED static __m256i dots(const Parts& parts, const std::int8_t* q) {
      const auto two = [&](int i) {  // In each quarter a part.
        return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), parts.u[i], _mm512_load_si512(q + 64 * i)), parts.u[i + 1], _mm512_load_si512(q + 64 * (i + 1)));
      };
      const __m512i a = two(0), b = two(2);
      const __m512i halves = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
      const __m512i whole = _mm512_add_epi32(halves, _mm512_shuffle_epi32(halves, _MM_PERM_BADC));  // Of each quarter: a, b.
      return _mm512_castsi512_si256(_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0), whole));
    }
  };

  struct Q4_0 : NibblesOf32<18, 2> {
    static constexpr bool kOneFactor = true;
    static constexpr int kOffsetShift = 3;  // Offsets are 8 times scales.
  };

  struct Q4_1 : NibblesOf32<20, 4> {
    static constexpr bool kOneFactor = false;
    INLINED static void unpack(const std::byte* at, Parts& parts) {
      NibblesOf32::unpack(at, parts);
      parts.offsets = _mm256_xor_ps(eight_halves(at + 2, 20), _mm256_set1_ps(-0.0f));
    }
  };

  struct Q8_0 {
    static constexpr std::int64_t kStride = 34, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kOneFactor = true;
    static constexpr int kOffsetShift = 7;  // Signed; 128 more, as unsigned bytes, is another first bit.
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static void unpack(const std::byte* at, Parts& parts) {
      for (int i = 0; i < 4; ++i)
        parts.u[i] = _mm512_xor_si512(load_32_32(at + 2 + 2 * i * kStride, at + 2 + (2 * i + 1) * kStride), _mm512_set1_epi8(static_cast<char>(0x80)));
      parts.scales = eight_halves(at, kStride);
    }
    INLINED static __m256i dots(const Parts& parts, const std::int8_t* q) {
      __m512i two[4];  // In each half a part.
      for (int i = 0; i < 4; ++i) two[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), parts.u[i], _mm512_load_si512(q + 64 * i));
      const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(two[0], two[1]), _mm512_unpackhi_epi32(two[0], two[1]));
      const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(two[2], two[3]), _mm512_unpackhi_epi32(two[2], two[3]));
      const __m512i quarters = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));  // Of each vector.
      const __m512i whole = _mm512_add_epi32(quarters, _mm512_shuffle_i32x4(quarters, quarters, 0xB1));
      return _mm512_castsi512_si256(_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0), whole));
    }
  };

  // A dot product of four stays below 63 * 127 * 4 = 32,004: it fits the lower half of its lane, and what the
  // sign puts into the upper one meets the zero there.
  template <typename Format, int Rows>
  INLINED static void block_sums(const std::byte* at, std::int64_t blocks, const std::int8_t* row_q, const std::int16_t* row_sums, float& scale, float& offset, __m256i* products, __m256i* offsets) {
    Block block;
    Format::unpack(at, block);
    scale = block.scale, offset = block.offset;
    for (int r = 0; r < Rows; ++r) {
      const std::int8_t* q = row_q + r * blocks * kProductBlock;
      __m512i whole = _mm512_setzero_si512();
      for (int i = 0; i < 4; ++i) {
        const __m512i dot = _mm512_dpbusd_epi32(_mm512_setzero_si512(), block.u[i], _mm512_load_si512(q + 64 * i));
        whole = _mm512_dpwssd_epi32(whole, dot, block.s[i]);
      }
      const __m256i parts = _mm256_madd_epi16(block.m, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * blocks * 16)));
      products[r] = _mm256_add_epi32(_mm512_castsi512_si256(whole), _mm512_extracti64x4_epi64(whole, 1));
      if constexpr (Format::kOneFactor) products[r] = _mm256_sub_epi32(products[r], _mm256_slli_epi32(parts, Format::kOffsetShift));
      else offsets[r] = parts;
    }
  }

  template <typename Format, int Rows>
  INLINED static void part_products(const std::byte* at, std::int64_t blocks, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, __m256* products) {
    Parts parts;
    Format::unpack(at, parts);
    for (int r = 0; r < Rows; ++r) {
      const __m256i dots = Format::dots(parts, row_q + r * blocks * kProductBlock);
      const __m256i sums = _mm256_madd_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * blocks * 16)), _mm256_set1_epi16(1));
      products[r] = part_products_of<Format>(dots, sums, parts.scales, parts.offsets, _mm256_load_ps(row_d + r * blocks * 8));
    }
  }

  static constexpr std::int64_t kLanes = 16;
  template <typename Format>
  static constexpr std::int64_t kPanelRows = Format::kWholeScales ? 5 : 4;
  template <typename Format>
  static constexpr bool kPairSums = Format::kWholeScales && !Format::kOneFactor;

  struct Panel {
    __m512i u[kProductBlock / 4];
    __m512i s[16];  // Whole scales of each part.
    __m512i m[8];   // Two 16-bit offsets, of parts of 16.
    __m512 scale[8], offset[8];  // Whole scales: the first alone.
  };

  struct LaneSums {
    __m512 products = _mm512_setzero_ps();
    __m512 offsets = _mm512_setzero_ps();
  };

  template <typename Format>
  static void pack(const std::byte* at, std::int64_t stride, int outputs, Panel& panel) {
    __m512i u[4][16], numbers[16], columns[16];
    alignas(64) float scale[16], offset[16];
    for (int n = 0; n < 16; ++n) {
      const std::byte* from = at + (n < outputs ? n : outputs - 1) * stride;
      for (std::int64_t line = 0; line < Format::kBytes; line += 64) __builtin_prefetch(from + kLanes * stride + line, 0, 2);
      if constexpr (Format::kWholeScales) {
        Block block;
        Format::unpack(from, block);
        for (int i = 0; i < 4; ++i) u[i][n] = block.u[i];
        numbers[n] = Format::numbers(from);
        scale[n] = block.scale, offset[n] = block.offset;
      } else {
        Parts parts;
        Format::unpack(from, parts);
        for (int i = 0; i < 4; ++i) u[i][n] = parts.u[i];
        numbers[n] = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_castps_si256(parts.scales)), _mm256_castps_si256(Format::kOneFactor ? parts.scales : parts.offsets), 1);
      }
    }
    for (int i = 0; i < 4; ++i) {
      transpose(u[i], columns);
      for (int step = 0; step < 16; ++step) panel.u[4 * Format::kOrder.of[4 * i + step / 4] + step % 4] = columns[step];
    }
    transpose(numbers, columns);
    if constexpr (Format::kWholeScales) {
      const __m512i low = _mm512_set1_epi32(0xFFFF);
      for (int i = 0; i < 8 && !Format::kOneFactor; ++i) panel.m[i] = _mm512_or_si512(_mm512_and_si512(columns[8 + i], low), _mm512_slli_epi32(columns[8 + i], 16));
      for (int part = 0; part < 64 / Format::kPartSteps; ++part) panel.s[part] = columns[part];
      panel.scale[0] = _mm512_load_ps(scale);
      panel.offset[0] = _mm512_load_ps(offset);
    } else {
      for (int i = 0; i < 8; ++i) panel.scale[i] = _mm512_castsi512_ps(columns[i]), panel.offset[i] = _mm512_castsi512_ps(columns[8 + i]);
    }
  }

  // The steps of one part, added to `dot`.
  template <int Steps, int Rows>
  INLINED static void add_steps(const __m512i* u, const std::int8_t (*q)[kGroup][4], __m512i* dot) {
#pragma GCC unroll 8
    for (int step = 0; step < Steps; ++step) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) dot[r] = _mm512_dpbusd_epi32(dot[r], u[step], _mm512_set1_epi32(static_cast<int>(word_at(q[step][r]))));
    }
  }

  template <typename Format, int Rows>
  INLINED static void add_panel(const Panel& panel, const Group& group, LaneSums* to)
    requires(Format::kWholeScales)
  {
    constexpr int kSteps = Format::kPartSteps;
    __m512i whole[Rows];
    for (int r = 0; r < Rows; ++r) whole[r] = _mm512_setzero_si512();
#pragma GCC unroll 1
    for (int part = 0; part < 64 / kSteps; ++part) {
      __m512i dot[Rows];
      for (int r = 0; r < Rows; ++r) dot[r] = Format::kOneFactor ? _mm512_set1_epi32(group.sums[part][r]) : _mm512_setzero_si512();
      add_steps<kSteps, Rows>(panel.u + part * kSteps, group.q + part * kSteps, dot);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) whole[r] = _mm512_add_epi32(whole[r], _mm512_mullo_epi32(dot[r], panel.s[part]));
    }
    for (int r = 0; r < Rows; ++r) {
      const __m512 d = _mm512_set1_ps(group.d[0][r]);
      to[r].products = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole[r]), _mm512_mul_ps(d, panel.scale[0]), to[r].products);
      if constexpr (!Format::kOneFactor) {
        __m512i parts = _mm512_setzero_si512();
        for (int i = 0; i < 8; ++i) parts = _mm512_dpwssd_epi32(parts, panel.m[i], _mm512_set1_epi32(group.sums[i][r]));
        to[r].offsets = _mm512_fmadd_ps(_mm512_cvtepi32_ps(parts), _mm512_mul_ps(d, panel.offset[0]), to[r].offsets);
      }
    }
  }

  template <typename Format, int Rows>
  INLINED static void add_panel(const Panel& panel, const Group& group, LaneSums* to) {
    __m512 sum[Rows];
    for (int r = 0; r < Rows; ++r) sum[r] = to[r].products;
#pragma GCC unroll 1
    for (int part = 0; part < 8; ++part) {
      __m512i dot[Rows];
      for (int r = 0; r < Rows; ++r) dot[r] = Format::kOneFactor ? _mm512_set1_epi32(group.sums[part][r]) : _mm512_setzero_si512();
      add_steps<8, Rows>(panel.u + 8 * part, group.q + 8 * part, dot);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
        const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(group.d[part][r]), panel.scale[part]);
        if constexpr (Format::kOneFactor) sum[r] = _mm512_add_ps(sum[r], _mm512_mul_ps(_mm512_cvtepi32_ps(dot[r]), scale));
        else sum[r] = _mm512_add_ps(sum[r], _mm512_fmsub_ps(_mm512_cvtepi32_ps(dot[r]), scale, _mm512_mul_ps(panel.offset[part], _mm512_castsi512_ps(_mm512_set1_epi32(group.sums[part][r])))));
      }
    }
    for (int r = 0; r < Rows; ++r) to[r].products = sum[r];
  }

  INLINED static void store(const LaneSums& sums, float* out, int outputs) {
    _mm512_mask_storeu_ps(out, static_cast<__mmask16>((1u << outputs) - 1), _mm512_sub_ps(sums.products, sums.offsets));
  }

  // Of 256 bytes, the sums of each sixteen.
  INLINED static __m256i sums_of_16s(const std::int8_t* q) {
    __m512i fours[4];  // In each quarter those of a sixteen.
    for (int i = 0; i < 4; ++i) fours[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_load_si512(q + 64 * i));
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(fours[0], fours[1]), _mm512_unpackhi_epi32(fours[0], fours[1]));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(fours[2], fours[3]), _mm512_unpackhi_epi32(fours[2], fours[3]));
    const __m512i whole = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));  // In quarter k the k-th sixteen of each vector.
    const __m512i in_order = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), whole);
    return _mm512_cvtepi32_epi16(in_order);
  }

  template <const Order& kOrder>
  INLINED static void quantise_block(const float* from, std::int8_t* q, float& d, std::int16_t* sums) {
    __m512 largest = _mm512_setzero_ps();
    for (int i = 0; i < 16; ++i) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_loadu_ps(from + 16 * i)));
    const float most = _mm512_reduce_max_ps(largest);
    d = most / 127;
    const __m512 inverse = _mm512_set1_ps(most > 0 ? 127 / most : 0);
    for (int place = 0; place < 16; ++place) {
      const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + 16 * kOrder.of[place]), inverse));
      _mm_store_si128(reinterpret_cast<__m128i*>(q + 16 * place), _mm512_cvtsepi32_epi8(whole));
    }
    constexpr Order kPlaces = places_of_32s(kOrder);
    const __m256i in_order = _mm256_permutevar8x32_epi32(sums_of_16s(q), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kPlaces.of)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), in_order);
  }

  template <const Order& kOrder>
  INLINED static void quantise_32s(const float* from, std::int8_t* q, float* d, std::int16_t* sums) {
    __m512 inverse[8];
    for (int part = 0; part < 8; ++part) {
      const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(from + 32 * part)), _mm512_abs_ps(_mm512_loadu_ps(from + 32 * part + 16))));
      d[part] = most / 127;
      inverse[part] = _mm512_set1_ps(most > 0 ? 127 / most : 0);
    }
    for (int place = 0; place < 16; ++place) {
      const int sixteen = kOrder.of[place];
      _mm_store_si128(reinterpret_cast<__m128i*>(q + 16 * place), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(from + 16 * sixteen), inverse[sixteen / 2]))));
    }
    alignas(32) std::int16_t of_places[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(of_places), sums_of_16s(q));
    for (int place = 0; place < 16; ++place) sums[kOrder.of[place]] = of_places[place];
  }
};

}  // namespace

extern const ProductKernel kProductsAvx512;
const ProductKernel kProductsAvx512{"avx512-vnni 2", InstructionSet::avx512, &Products<Avx512>::run};

}  // namespace pensieve
