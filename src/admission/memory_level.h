// Five levels of what the machine has left, with hysteresis: worse at once, better
// only after there has been clearly more for a while.
//
//   Threads  one. Pure: figures and time come in as arguments.
//   Units    bytes. A bound belongs to the worse level.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace pensieve {

enum class MemoryLevel { safe, caution, warning, critical, emergency };
const char* name_of(MemoryLevel level);

struct MemoryBounds {  // Available memory at or below which the level begins.
  std::uint64_t caution = 3'000'000'000;
  std::uint64_t warning = 2'000'000'000;
  std::uint64_t critical = 1'000'000'000;
  std::uint64_t emergency = 500'000'000;

  // Scaled down in proportion on machines of less than 8 GB.
  static MemoryBounds for_machine(std::uint64_t machine_bytes);
};

class MemoryLevels {
 public:
  // Better needs this much more than the bound, for so long.
  static constexpr double kMoreThanBound = 1.1;
  static constexpr std::chrono::milliseconds kHold{2000};
  // Of the last 10 s, in which tasks waited for memory (PSI, some): at least warning.
  static constexpr double kPressurePercent = 40;

  explicit MemoryLevels(const MemoryBounds& bounds) : bounds_(bounds) {}

  // True when the level changed.
  bool update(std::uint64_t available_bytes, double pressure_percent, TimePoint now);
  MemoryLevel level() const { return level_; }
  const MemoryBounds& bounds() const { return bounds_; }

 private:
  MemoryLevel level_of(double available, double pressure) const;

  MemoryBounds bounds_;
  MemoryLevel level_ = MemoryLevel::safe;
  std::optional<TimePoint> better_since_;
};

}  // namespace pensieve
