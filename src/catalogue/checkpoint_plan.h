// What a checkpoint's config.json means in GGUF's terms: the numbers to state, the
// tensors to expect and what they are called there.
//
//   Threads  any: a pure function.
//   Errors   corrupt: a number is missing or absurd; invalid_argument: an architecture,
//            a rope scaling or a quantisation that this does not know. Each names the field.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct PlannedTensor {
  std::string from;  // Without ".weight".
  std::string to;    // With it.
  std::uint64_t rows = 0;  // 0: a vector.
  std::uint64_t columns = 0;
  std::uint64_t rotated_heads = 0;  // Not 0: rows of a head are put in pairs, as the architecture rotates them.
  bool is_bias = false;
};

struct ComputedTensor {  // Not in the checkpoint: rope factors.
  std::string to;
  std::vector<float> values;
};

struct CheckpointPlan {
  std::string architecture;
  std::uint64_t vocabulary = 0;
  std::vector<std::pair<std::string, std::variant<std::uint32_t, float, std::string>>> numbers;  // Whole keys.
  std::vector<PlannedTensor> tensors;
  std::vector<ComputedTensor> computed;
};

Result<CheckpointPlan> plan_checkpoint(const nlohmann::json& config);

}  // namespace pensieve
