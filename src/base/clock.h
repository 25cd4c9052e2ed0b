// Time. steady_clock is CLOCK_MONOTONIC on Linux and macOS: one clock for all
// processes of the machine, so a worker's time stamp can be compared with the
// server's.
#pragma once

#include <chrono>
#include <cstdint>

namespace pensieve {

using SteadyClock = std::chrono::steady_clock;
using TimePoint = SteadyClock::time_point;

// Microseconds since the machine's monotonic epoch; the unit of time stamps on the wire.
inline std::int64_t monotonic_us(TimePoint at = SteadyClock::now()) {
  return std::chrono::duration_cast<std::chrono::microseconds>(at.time_since_epoch()).count();
}

inline double seconds(SteadyClock::duration span) { return std::chrono::duration<double>(span).count(); }

}  // namespace pensieve
