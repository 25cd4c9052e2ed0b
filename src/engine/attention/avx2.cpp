// Compiled for AVX2, FMA and F16C; called only where the processor has them.
#include <immintrin.h>

#include "engine/attention/kernel.h"

namespace pensieve {
namespace {

struct Avx2 {
  using V = __m256;
  static constexpr std::int64_t kWidth = 8;
  static constexpr int kRegisterRows = 2;

  static V load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, V v) { _mm256_storeu_ps(to, v); }
  static V set(float x) { return _mm256_set1_ps(x); }
  static V zero() { return _mm256_setzero_ps(); }
  static V from_half(const std::byte* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static V from_bytes(const std::byte* from) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  }
  static float half(std::uint16_t bits) { return _cvtsh_ss(bits); }
  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V round(V x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // n from -126 on: what lies below is set to zero by zero_below.
  static V scale_by_power(V x, V n) {
    return mul(
        x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
  }
  static V zero_below(V x, float bound, V result) {
    return _mm256_and_ps(result, _mm256_cmp_ps(x, set(bound), _CMP_GE_OQ));
  }
  static V zero_if_lowest(V x) { return _mm256_and_ps(x, _mm256_cmp_ps(x, set(kLowest), _CMP_GT_OQ)); }

  static void turn(V (&a)[8]) {
    V fours[8];
    for (int i = 0; i < 8; i += 4) {
      const __m256d low = _mm256_castps_pd(_mm256_unpacklo_ps(a[i], a[i + 1])), high = _mm256_castps_pd(_mm256_unpackhi_ps(a[i], a[i + 1]));
      const __m256d low_2 = _mm256_castps_pd(_mm256_unpacklo_ps(a[i + 2], a[i + 3])), high_2 = _mm256_castps_pd(_mm256_unpackhi_ps(a[i + 2], a[i + 3]));
      fours[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, low_2)), fours[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, low_2));
      fours[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, high_2)), fours[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, high_2));
    }
    // fours[4 g + k]: columns k and 4 + k of rows 4 g to 4 g + 3.
    for (int k = 0; k < 4; ++k) {
      a[k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x20);
      a[4 + k] = _mm256_permute2f128_ps(fours[k], fours[4 + k], 0x31);
    }
  }
};

}  // namespace

extern const AttentionKernel kAttentionAvx2;
const AttentionKernel kAttentionAvx2{"avx2 2", InstructionSet::avx2, &Attention<Avx2>::run};

}  // namespace pensieve
