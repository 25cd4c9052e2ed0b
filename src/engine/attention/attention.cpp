#include "engine/attention/attention.h"

#include <array>

namespace pensieve {

#ifdef PENSIEVE_ATTENTION_X86
extern const AttentionKernel kAttentionAvx512;
extern const AttentionKernel kAttentionAvx2;
#endif

const AttentionKernel* const* attention_kernels() {
  static const auto kernels = [] {
    std::array<const AttentionKernel*, 3> found{};
#ifdef PENSIEVE_ATTENTION_X86
    std::size_t count = 0;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("f16c")) found[count++] = &kAttentionAvx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"))
      found[count++] = &kAttentionAvx2;
#endif
    return found;
  }();
  return kernels.data();
}

const AttentionKernel* attention_kernel() {
  for (const AttentionKernel* const* kernel = attention_kernels(); *kernel != nullptr; ++kernel) {
    if (kernels_may_use((*kernel)->set)) return *kernel;
  }
  return nullptr;
}

bool attention_takes(const AttentionInput& input) {
  const auto suits = [](std::int64_t width, CellFormat format) {
    return width > 0 && width <= 1024 && width % (format == CellFormat::f16 ? 16 : 32) == 0;
  };
  return suits(input.key_width, input.k_format) && suits(input.value_width, input.v_format) && input.kv_heads > 0 &&
         input.heads % input.kv_heads == 0;
}

std::size_t attention_scratch_floats(std::int64_t key_width, std::int64_t value_width) {
  // The layout of many_rows (kernel.h), the larger of the two.
  return static_cast<std::size_t>((kTileRows + kTileCells) * (key_width + value_width) + 2 * kTileCells * kTileRows +
                                  3 * kTileRows);
}

}  // namespace pensieve
