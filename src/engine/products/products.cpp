#include "engine/products/products.h"

#include <algorithm>

namespace pensieve {

#ifdef PENSIEVE_PRODUCTS_X86
extern const ProductKernel kProductsAvx512;
#endif

const ProductKernel* product_kernel() {
#ifdef PENSIEVE_PRODUCTS_X86
  if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("f16c"))
    return &kProductsAvx512;
#endif
  return nullptr;
}

std::size_t product_block_bytes(WeightFormat format) {
  switch (format) {
    case WeightFormat::q4_k: return 144;
    case WeightFormat::q5_k: return 176;
    case WeightFormat::q6_k: return 210;
  }
  return 0;
}

bool product_takes(const ProductInput& input) {
  return input.rows > 0 && input.width > 0 && input.width % kProductBlock == 0 && input.outputs > 0 &&
         input.weights_row == static_cast<std::size_t>(input.width / kProductBlock) * product_block_bytes(input.format);
}

// For each row of a tile: its bytes, then sixteen sums and a scale for each block (avx512.cpp); rows in groups of eight.
std::size_t product_scratch_bytes(std::int64_t width, std::int64_t rows) {
  const auto blocks = static_cast<std::size_t>(width / kProductBlock);
  const std::size_t row = static_cast<std::size_t>(width) + blocks * (16 * sizeof(std::int16_t) + sizeof(float));
  return static_cast<std::size_t>(std::min((rows + 7) / 8 * 8, kProductTileRows)) * row;
}

}  // namespace pensieve
