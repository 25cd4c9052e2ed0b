// Compiled for AVX2, FMA and F16C; called only where the processor has them.
//
// A part of 32 weights is one vector u of unsigned bytes; in a panel it is eight vectors of four weights of each of eight outputs.
// Multiplied with bytes of activations, two neighbours are added in 16 bits (at most 2 * 63 * 127 = 16,002, so nothing is cut off); times
// the small scale of their part, two of those in 32. Few rows unpack two parts at a time, and use them for all rows before the next two:
// all that stays in sixteen registers. In formats without whole scales a part's sums become floats, and are multiplied by its scale;
// signed weights give their signs to the activations (2 * 128 * 127).
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

// The lower half of each lane of both.
INLINED __m256i both_16s(__m256i a, __m256i b) { return _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xAA); }

// The small numbers of a block as lanes: scales, then offsets. Or all sixteen scales.
struct Numbers {
  __m256i first, second;
};
INLINED Numbers six_bit_numbers(const std::byte* at) {
  const auto [scales, offsets] = six_bits(at);
  return {_mm256_cvtepu8_epi32(scales), _mm256_cvtepu8_epi32(offsets)};
}

struct Avx2 {
  // `Format::unpack`: parts a and b of the pair `i` of four, and the scale of each.
  struct Pair {
    __m256i a, b;
    __m256i scale_a, scale_b;
  };

  struct Q4K {
    static constexpr std::int64_t kBytes = 144;
    static constexpr bool kWholeScales = true, kOneFactor = false;
    static constexpr int kPartSteps = 8;  // Four weights of each part at a time.
    static constexpr int kAddedSteps = 4;  // So many sums of two fit 16 bits (twice as many, too, but they were slower).
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static Numbers numbers(const std::byte* at) { return six_bit_numbers(at); }
    INLINED static Scales scales(const std::byte* at) { return six_bit_scales(at); }
    INLINED static Pair unpack(const std::byte* at, const Scales& scales, int i) {
      const __m256i bytes = load_32(at + 16 + 32 * i);
      return {low_bits(bytes), high_bits(bytes), spread(scales.first, 2 * i, 2 * i), spread(scales.first, 2 * i + 1, 2 * i + 1)};
    }
  };

  struct Q5K {
    static constexpr std::int64_t kBytes = 176;
    static constexpr bool kWholeScales = true, kOneFactor = false;
    static constexpr int kPartSteps = 8, kAddedSteps = 4;  // 8 * 31 * 127 = 31,496
    INLINED static Numbers numbers(const std::byte* at) { return six_bit_numbers(at); }
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
    static constexpr bool kWholeScales = true, kOneFactor = true;
    static constexpr int kOffsetShift = 5;  // Its offset is 32 times its scale.
    static constexpr int kPartSteps = 4, kAddedSteps = 2;  // 4 * 63 * 127 = 32,004
    // Each half of a block: low four bits of parts 0 and 2 in its first 32 bytes, of 1 and 3 in the next.
    static constexpr Order kOrder = order_of_32s({0, 2, 1, 3, 4, 6, 5, 7});
    INLINED static Numbers numbers(const std::byte* at) {
      const __m128i sixteen = load_16(at + 192);
      return {_mm256_cvtepi8_epi32(sixteen), _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(sixteen, sixteen))};
    }
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
    static constexpr bool kWholeScales = false, kOneFactor = true, kSigned = false;
    static constexpr int kOffsetShift = 3;  // Offsets are 8 times scales.
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return nibbles_of_32(at + part * kStride + 2); }
    INLINED static __m256 offsets(const std::byte*) { return _mm256_setzero_ps(); }
  };

  struct Q4_1 {
    static constexpr std::int64_t kStride = 20, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kOneFactor = false, kSigned = false;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return nibbles_of_32(at + part * kStride + 4); }
    INLINED static __m256 offsets(const std::byte* at) { return _mm256_xor_ps(eight_halves(at + 2, kStride), _mm256_set1_ps(-0.0f)); }
  };

  struct Q8_0 {
    static constexpr std::int64_t kStride = 34, kBytes = 8 * kStride;
    static constexpr bool kWholeScales = false, kOneFactor = true, kSigned = true;
    static constexpr const Order& kOrder = kNaturalOrder;
    INLINED static __m256i unpack(const std::byte* at, int part) { return load_32(at + part * kStride + 2); }
    INLINED static __m256 offsets(const std::byte*) { return _mm256_setzero_ps(); }
  };

  template <typename Format, int Rows>
  INLINED static void block_sums(const std::byte* at, std::int64_t blocks, const std::int8_t* row_q, const std::int16_t* row_sums, float& scale, float& offset, __m256i* products, __m256i* offsets) {
    const std::int64_t run = blocks * kProductBlock;
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
      const __m256i parts = _mm256_madd_epi16(scales.m, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * blocks * 16)));
      if constexpr (Format::kOneFactor) products[r] = _mm256_sub_epi32(whole[r], _mm256_slli_epi32(parts, Format::kOffsetShift));
      else products[r] = whole[r], offsets[r] = parts;
    }
    scale = scales.scale, offset = scales.offset;
  }

  // Products of weights with activations, two added; signed weights give their signs to those.
  template <bool Signed>
  INLINED static __m256i twos(__m256i weights, __m256i q) {
    return Signed ? _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(q, weights)) : _mm256_maddubs_epi16(weights, q);
  }

  template <typename Format, int Rows>
  INLINED static void part_products(const std::byte* at, std::int64_t blocks, const std::int8_t* row_q, const std::int16_t* row_sums, const float* row_d, __m256* products) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i fours[Rows][8];
    for (int part = 0; part < 8; ++part) {
      const __m256i weights = Format::unpack(at, part);
      for (int r = 0; r < Rows; ++r)
        fours[r][part] = _mm256_madd_epi16(twos<Format::kSigned>(weights, _mm256_load_si256(reinterpret_cast<const __m256i*>(row_q + r * blocks * kProductBlock + 32 * part))), ones);
    }
    const __m256 scales = eight_halves(at, Format::kStride), offsets = Format::offsets(at);
    for (int r = 0; r < Rows; ++r) {
      const __m256i dots = lane_sums(fours[r]);
      const __m256i sums = _mm256_madd_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(row_sums + r * blocks * 16)), ones);
      products[r] = part_products_of<Format>(dots, sums, scales, offsets, _mm256_load_ps(row_d + r * blocks * 8));
    }
  }

  static constexpr std::int64_t kLanes = 8;
  template <typename Format>
  static constexpr std::int64_t kPanelRows = Format::kWholeScales ? 5 : 3;
  template <typename Format>
  static constexpr bool kPairSums = Format::kWholeScales;

  struct Panel {
    __m256i u[kProductBlock / 4];
    __m256i s[16];  // Whole scales of each part, twice 16 bits.
    __m256i m[8];   // Two 16-bit offsets, of parts of 16.
    __m256 scale[8], offset[8];  // Whole scales: the first alone.
  };

  struct LaneSums {
    __m256 products = _mm256_setzero_ps();
    __m256 offsets = _mm256_setzero_ps();
  };

  template <typename Format>
  static void pack(const std::byte* at, std::int64_t stride, int outputs, Panel& panel) {
    __m256i u[8][8], first[8], second[8], columns[16];
    alignas(32) float scale[8], offset[8];
    for (int n = 0; n < 8; ++n) {
      const std::byte* from = at + (n < outputs ? n : outputs - 1) * stride;
      for (std::int64_t line = 0; line < Format::kBytes; line += 64) __builtin_prefetch(from + kLanes * stride + line, 0, 2);
      if constexpr (Format::kWholeScales) {
        const Scales scales = Format::scales(from);
        for (int i = 0; i < 4; ++i) {
          const Pair pair = Format::unpack(from, scales, i);
          u[2 * i][n] = pair.a, u[2 * i + 1][n] = pair.b;
        }
        const Numbers numbers = Format::numbers(from);
        first[n] = numbers.first, second[n] = numbers.second;
        scale[n] = scales.scale, offset[n] = scales.offset;
      } else {
        for (int part = 0; part < 8; ++part) u[part][n] = Format::unpack(from, part);
        first[n] = _mm256_castps_si256(eight_halves(from, Format::kStride));
        second[n] = _mm256_castps_si256(Format::offsets(from));
      }
    }
    for (int i = 0; i < 8; ++i) transpose(u[i], panel.u + 4 * Format::kOrder.of[2 * i]);
    transpose(first, columns);
    transpose(second, columns + 8);
    if constexpr (Format::kWholeScales) {
      constexpr bool kOffsetsOf32s = Format::kPartSteps == 8;
      for (int i = 0; i < 8; ++i) panel.m[i] = both_16s(columns[kOffsetsOf32s ? 8 + i : 2 * i], columns[kOffsetsOf32s ? 8 + i : 2 * i + 1]);
      for (int part = 0; part < 64 / Format::kPartSteps; ++part) panel.s[part] = both_16s(columns[part], columns[part]);
      panel.scale[0] = _mm256_load_ps(scale);
      panel.offset[0] = _mm256_load_ps(offset);
    } else {
      for (int i = 0; i < 8; ++i) panel.scale[i] = _mm256_castsi256_ps(columns[i]), panel.offset[i] = _mm256_castsi256_ps(columns[8 + i]);
    }
  }

  INLINED static __m256i four(const std::int8_t (&bytes)[4]) { return _mm256_set1_epi32(static_cast<int>(word_at(bytes))); }

  // Of a group's rows `Rows` from `first` on.
  template <typename Format, int Rows>
  INLINED static void add_rows(const Panel& panel, const Group& group, int first, LaneSums* to)
    requires(Format::kWholeScales)
  {
    __m256i whole[Rows];
    for (int r = 0; r < Rows; ++r) whole[r] = _mm256_setzero_si256();
    const __m256i* u = panel.u;
    const auto* q = group.q;
#pragma GCC unroll 1
    for (int added = 0; added < 64 / Format::kAddedSteps; ++added, u += Format::kAddedSteps, q += Format::kAddedSteps) {
      __m256i sum[Rows];
#pragma GCC unroll 8
      for (int step = 0; step < Format::kAddedSteps; ++step) {
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          const __m256i two = twos<false>(u[step], four(q[step][first + r]));
          sum[r] = step == 0 ? two : _mm256_add_epi16(sum[r], two);
        }
      }
      const __m256i scales = panel.s[added * Format::kAddedSteps / Format::kPartSteps];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) whole[r] = _mm256_add_epi32(whole[r], _mm256_madd_epi16(sum[r], scales));
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const __m256 d = _mm256_set1_ps(group.d[0][first + r]);
      __m256i parts = _mm256_setzero_si256();
      for (int i = 0; i < 8; ++i) parts = _mm256_add_epi32(parts, _mm256_madd_epi16(panel.m[i], _mm256_set1_epi32(group.sums[i][first + r])));
      if constexpr (Format::kOneFactor) whole[r] = _mm256_sub_epi32(whole[r], _mm256_slli_epi32(parts, Format::kOffsetShift));
      else to[r].offsets = _mm256_fmadd_ps(_mm256_cvtepi32_ps(parts), _mm256_mul_ps(d, panel.offset[0]), to[r].offsets);
      to[r].products = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole[r]), _mm256_mul_ps(d, panel.scale[0]), to[r].products);
    }
  }

  template <typename Format, int Rows>
  INLINED static void add_rows(const Panel& panel, const Group& group, int first, LaneSums* to) {
    const __m256i ones = _mm256_set1_epi16(1);
    constexpr int kAdded = Format::kSigned ? 1 : 4;  // So many sums of two fit 16 bits.
    __m256 sum[Rows];
    for (int r = 0; r < Rows; ++r) sum[r] = to[r].products;
#pragma GCC unroll 1
    for (int part = 0; part < 8; ++part) {
      __m256i dot[Rows];
      for (int r = 0; r < Rows; ++r) dot[r] = Format::kOneFactor && !Format::kSigned ? _mm256_set1_epi32(group.sums[part][first + r]) : _mm256_setzero_si256();
#pragma GCC unroll 2
      for (int step = 8 * part; step < 8 * part + 8; step += kAdded) {
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) {
          __m256i added = twos<Format::kSigned>(panel.u[step], four(group.q[step][first + r]));
#pragma GCC unroll 4
          for (int i = 1; i < kAdded; ++i) added = _mm256_add_epi16(added, twos<Format::kSigned>(panel.u[step + i], four(group.q[step + i][first + r])));
          dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(added, ones));
        }
      }
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) {
        const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(group.d[part][first + r]), panel.scale[part]);
        if constexpr (Format::kOneFactor) sum[r] = _mm256_add_ps(sum[r], _mm256_mul_ps(_mm256_cvtepi32_ps(dot[r]), scale));
        else sum[r] = _mm256_add_ps(sum[r], _mm256_fmsub_ps(_mm256_cvtepi32_ps(dot[r]), scale, _mm256_mul_ps(panel.offset[part], _mm256_castsi256_ps(_mm256_set1_epi32(group.sums[part][first + r])))));
      }
    }
    for (int r = 0; r < Rows; ++r) to[r].products = sum[r];
  }

  // Sixteen registers hold the sums of four rows.
  template <typename Format, int Rows>
  INLINED static void add_panel(const Panel& panel, const Group& group, LaneSums* to) {
    add_rows<Format, (Rows < 4 ? Rows : 4)>(panel, group, 0, to);
    if constexpr (Rows > 4) add_rows<Format, Rows - 4>(panel, group, 4, to + 4);
  }

  INLINED static void store(const LaneSums& sums, float* out, int outputs) {
    alignas(32) float results[8];
    _mm256_store_ps(results, _mm256_sub_ps(sums.products, sums.offsets));
    __builtin_memcpy(out, results, static_cast<std::size_t>(outputs) * sizeof(float));
  }

  // The largest of 8 * `eights` numbers, without their signs.
  static float largest_of(const float* from, int eights) {
    __m256 largest = _mm256_setzero_ps();
    for (int i = 0; i < eights; ++i) largest = _mm256_max_ps(largest, _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_loadu_ps(from + 8 * i)));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
  }

  // Sixteen numbers times `factor` as bytes.
  INLINED static void quantise_16(const float* from, float factor, std::int8_t* q) {
    constexpr int kInOrder = 0xD8;  // Packing goes by halves.
    const __m256 inverse = _mm256_set1_ps(factor);
    const __m256i first = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from), inverse)), second = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(from + 8), inverse));
    const __m256i whole = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, second), kInOrder);
    _mm_store_si128(reinterpret_cast<__m128i*>(q), _mm_packs_epi16(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
  }

  // Of 256 bytes, the sums of each sixteen.
  INLINED static __m256i sums_of_16s(const std::int8_t* q) {
    __m256i fours[8];
    for (int i = 0; i < 8; ++i) {
      const __m256i twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_load_si256(reinterpret_cast<const __m256i*>(q + 32 * i)));
      fours[i] = _mm256_madd_epi16(twos, _mm256_set1_epi16(1));
    }
    // In each half a sixteen of each vector, the first and the second.
    const __m256i first = _mm256_hadd_epi32(_mm256_hadd_epi32(fours[0], fours[1]), _mm256_hadd_epi32(fours[2], fours[3]));
    const __m256i second = _mm256_hadd_epi32(_mm256_hadd_epi32(fours[4], fours[5]), _mm256_hadd_epi32(fours[6], fours[7]));
    const __m256i whole = _mm256_packs_epi32(first, second);
    const __m128i a = _mm256_castsi256_si128(whole), b = _mm256_extracti128_si256(whole, 1);
    return _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
  }

  template <const Order& kOrder>
  INLINED static void quantise_block(const float* from, std::int8_t* q, float& d, std::int16_t* sums) {
    const float most = largest_of(from, 32);
    d = most / 127;
    const float factor = most > 0 ? 127 / most : 0;
    for (int place = 0; place < 16; ++place) quantise_16(from + 16 * kOrder.of[place], factor, q + 16 * place);
    constexpr Order kPlaces = places_of_32s(kOrder);
    const __m256i in_order = _mm256_permutevar8x32_epi32(sums_of_16s(q), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kPlaces.of)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(sums), in_order);
  }

  template <const Order& kOrder>
  INLINED static void quantise_32s(const float* from, std::int8_t* q, float* d, std::int16_t* sums) {
    float factors[8];
    for (int part = 0; part < 8; ++part) {
      const float most = largest_of(from + 32 * part, 4);
      d[part] = most / 127;
      factors[part] = most > 0 ? 127 / most : 0;
    }
    for (int place = 0; place < 16; ++place) quantise_16(from + 16 * kOrder.of[place], factors[kOrder.of[place] / 2], q + 16 * place);
    alignas(32) std::int16_t of_places[16];
    _mm256_store_si256(reinterpret_cast<__m256i*>(of_places), sums_of_16s(q));
    for (int place = 0; place < 16; ++place) sums[kOrder.of[place]] = of_places[place];
  }
};

}  // namespace

extern const ProductKernel kProductsAvx2;
const ProductKernel kProductsAvx2{"avx2 2", InstructionSet::avx2, &Products<Avx2>::run};

}  // namespace pensieve
