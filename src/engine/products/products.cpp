#include "engine/products/products.h"

#include <algorithm>
#include <array>

namespace pensieve {

#ifdef PENSIEVE_PRODUCTS_X86
extern const ProductKernel kProductsAvx512;
extern const ProductKernel kProductsAvx2;
#endif

const ProductKernel* const* product_kernels() {
  static const auto kernels = [] {
    std::array<const ProductKernel*, 3> found{};
#ifdef PENSIEVE_PRODUCTS_X86
    std::size_t count = 0;
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("f16c"))
      found[count++] = &kProductsAvx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) found[count++] = &kProductsAvx2;
#endif
    return found;
  }();
  return kernels.data();
}

const ProductKernel* product_kernel() {
  for (const ProductKernel* const* kernel = product_kernels(); *kernel != nullptr; ++kernel) {
    if (kernels_may_use((*kernel)->set)) return *kernel;
  }
  return nullptr;
}

std::size_t product_block_bytes(WeightFormat format) {
  switch (format) {
    case WeightFormat::q4_k: return 144;
    case WeightFormat::q5_k: return 176;
    case WeightFormat::q6_k: return 210;
    case WeightFormat::q4_0: return 8 * 18;
    case WeightFormat::q4_1: return 8 * 20;
    case WeightFormat::q8_0: return 8 * 34;
  }
  return 0;
}

bool product_takes(const ProductInput& input) {
  return input.rows > 0 && input.width > 0 && input.width % kProductBlock == 0 && input.outputs > 0 &&
         input.weights_row == static_cast<std::size_t>(input.width / kProductBlock) * product_block_bytes(input.format);
}

// Rows of a tile in groups of eight.
std::size_t product_scratch_bytes(std::int64_t width, std::int64_t rows) {
  return static_cast<std::size_t>(std::min((rows + 7) / 8 * 8, kProductTileRows) * (width / kProductBlock) * kProductScratchOfBlock);
}

}  // namespace pensieve
