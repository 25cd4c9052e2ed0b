// Tells a worker that works from one that hangs: progress counters, not pings. A
// worker that answers `health` but finishes no step while work is due hangs.
//
//   Threads  one. Pure: time comes in as an argument.
#pragma once

#include <chrono>
#include <cstdint>

#include "base/clock.h"

namespace pensieve {

class Watchdog {
 public:
  Watchdog(std::chrono::milliseconds patience, TimePoint now) : patience_(patience), since_(now) {}

  // Something was finished: a step, a part of one, an answer.
  void progressed(TimePoint now) { since_ = now; }
  // Counters of the worker; any change is progress.
  void counted(std::uint64_t steps, std::uint64_t pulse, TimePoint now) {
    if (steps != steps_ || pulse != pulse_) since_ = now;
    steps_ = steps;
    pulse_ = pulse;
  }
  // Call at least a few times within the patience. `due`: there is something to finish.
  bool stalled(bool due, TimePoint now) {
    if (!due) since_ = now;
    return now - since_ > patience_;
  }

 private:
  std::chrono::milliseconds patience_;
  TimePoint since_;
  std::uint64_t steps_ = 0;
  std::uint64_t pulse_ = 0;
};

}  // namespace pensieve
