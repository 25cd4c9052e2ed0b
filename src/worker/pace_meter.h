// Measures Pace: moving averages over the last dozens of steps. The first of a kind counts only until there is a
// second: pages come in then, and threads awake.
//
//   Threads  the engine thread.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>

#include "core/pace.h"
#include "worker/plan.h"

namespace pensieve {

class PaceMeter {
 public:
  // A piece of a prompt, of so many rows; `beside`: others decode meanwhile.
  void read(std::size_t rows, bool beside, std::chrono::duration<double> took) {
    (beside ? beside_ : alone_).add(static_cast<double>(rows), took.count());
    const auto chunk = static_cast<std::int32_t>(rows);
    if (beside && chunk > pace_.beside_chunk / 2) pace_.beside_chunk = chunk;  // Not a last, short one.
  }
  void decoded(std::size_t rows, std::chrono::duration<double> took) {
    if (pace_.step_seconds.empty()) pace_.step_seconds.resize(static_cast<std::size_t>(kDecodeRowsMax));
    double& average = pace_.step_seconds[rows - 1];
    const std::size_t before = steps_[rows - 1]++;
    average += std::max(kNewest, 1 / std::max(1.0, static_cast<double>(before))) * (took.count() - average);
  }
  Pace pace() const {
    Pace pace = pace_;
    pace.alone_tokens_per_second = alone_.rate() > 0 ? alone_.rate() : beside_.rate();
    pace.beside_tokens_per_second = beside_.rate();
    return pace;
  }

 private:
  static constexpr double kNewest = 0.05;
  struct Rate {
    double tokens = 0, seconds = 0;
    int pieces = 0;
    void add(double more_tokens, double more_seconds) {
      if (pieces == 1) tokens = seconds = 0;
      if (pieces < 2) ++pieces;
      tokens = (1 - kNewest) * tokens + more_tokens;
      seconds = (1 - kNewest) * seconds + more_seconds;
    }
    double rate() const { return seconds > 0 ? tokens / seconds : 0; }
  };
  Rate alone_, beside_;
  std::array<std::size_t, kDecodeRowsMax> steps_{};
  Pace pace_;
};

}  // namespace pensieve
