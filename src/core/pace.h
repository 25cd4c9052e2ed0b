// How fast the worker goes, as it measured it lately: what a forecast is made of.
//
//   Units  seconds; tokens. Zero: not measured yet.
#pragma once

#include <cstdint>
#include <vector>

namespace pensieve {

struct Pace {
  double alone_tokens_per_second = 0;   // Reading a prompt while nobody decodes.
  double beside_tokens_per_second = 0;  // Between the decode steps of others, without those steps.
  std::int32_t beside_chunk = 0;        // Tokens of such a piece.
  std::vector<double> step_seconds;     // [n - 1]: a decode step of n rows, and what belongs to it.
  bool operator==(const Pace&) const = default;
};

}  // namespace pensieve
