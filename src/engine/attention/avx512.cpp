// Compiled for AVX-512F and F16C; called only where the processor has them.
#include <immintrin.h>

#include "engine/attention/kernel.h"

namespace pensieve {
namespace {

struct Avx512 {
  using V = __m512;
  static constexpr std::int64_t kWidth = 16;
  static constexpr int kRegisterRows = 4;

  static V load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, V v) { _mm512_storeu_ps(to, v); }
  static V set(float x) { return _mm512_set1_ps(x); }
  static V zero() { return _mm512_setzero_ps(); }
  static V from_half(const std::byte* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static V from_bytes(const std::byte* from) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  }
  static float half(std::uint16_t bits) { return _cvtsh_ss(bits); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V round(V x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static V scale_by_power(V x, V n) { return _mm512_scalef_ps(x, n); }
  static V zero_below(V x, float bound, V result) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set(bound), _CMP_GE_OQ), result);
  }
  static V zero_if_lowest(V x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, set(kLowest), _CMP_GT_OQ), x); }

  // Pairs within 128 bits first, then across.
  static void turn(V (&a)[16]) {
    V fours[16];
    for (int i = 0; i < 16; i += 4) {
      const __m512d low = _mm512_castps_pd(_mm512_unpacklo_ps(a[i], a[i + 1])), high = _mm512_castps_pd(_mm512_unpackhi_ps(a[i], a[i + 1]));
      const __m512d low_2 = _mm512_castps_pd(_mm512_unpacklo_ps(a[i + 2], a[i + 3])), high_2 = _mm512_castps_pd(_mm512_unpackhi_ps(a[i + 2], a[i + 3]));
      fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, low_2)), fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, low_2));
      fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, high_2)), fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, high_2));
    }
    // fours[4 g + k]: columns k, 4 + k, 8 + k and 12 + k of rows 4 g to 4 g + 3.
    for (int k = 0; k < 4; ++k) {
      const V even = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0x88), odd = _mm512_shuffle_f32x4(fours[k], fours[4 + k], 0xDD);
      const V even_2 = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0x88), odd_2 = _mm512_shuffle_f32x4(fours[8 + k], fours[12 + k], 0xDD);
      a[k] = _mm512_shuffle_f32x4(even, even_2, 0x88), a[8 + k] = _mm512_shuffle_f32x4(even, even_2, 0xDD);
      a[4 + k] = _mm512_shuffle_f32x4(odd, odd_2, 0x88), a[12 + k] = _mm512_shuffle_f32x4(odd, odd_2, 0xDD);
    }
  }
};

}  // namespace

extern const AttentionKernel kAttentionAvx512;
const AttentionKernel kAttentionAvx512{"avx512 2", InstructionSet::avx512, &Attention<Avx512>::run};

}  // namespace pensieve
