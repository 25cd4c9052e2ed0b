// Vectors of length 1, as embeddings are compared.
//
//   Threads  any: pure functions.
#pragma once

#include <cmath>
#include <span>

namespace pensieve {

// Scales `values` to length 1: squares summed in double, in order, as the engine's own server does. False: they have
// no length (all 0, or something that is no number); they stay as they are.
inline bool make_unit(std::span<float> values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * static_cast<double>(value);
  if (!std::isfinite(sum) || sum <= 0) return false;
  const auto scale = static_cast<float>(1.0 / std::sqrt(sum));
  for (float& value : values) value *= scale;
  return true;
}

}  // namespace pensieve
