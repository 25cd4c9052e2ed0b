#include "admission/memory_level.h"

#include <algorithm>

namespace pensieve {

const char* name_of(MemoryLevel level) {
  switch (level) {
    case MemoryLevel::safe: return "safe";
    case MemoryLevel::caution: return "caution";
    case MemoryLevel::warning: return "warning";
    case MemoryLevel::critical: return "critical";
    case MemoryLevel::emergency: return "emergency";
  }
  return "";
}

MemoryBounds MemoryBounds::for_machine(std::uint64_t machine_bytes) {
  const double part = std::min(1.0, static_cast<double>(machine_bytes) / 8e9);
  const auto scaled = [part](std::uint64_t bytes) { return static_cast<std::uint64_t>(static_cast<double>(bytes) * part); };
  const MemoryBounds whole;
  return {scaled(whole.caution), scaled(whole.warning), scaled(whole.critical), scaled(whole.emergency)};
}

MemoryLevel MemoryLevels::level_of(double available, double pressure) const {
  const auto at_most = [available](std::uint64_t bound) { return available <= static_cast<double>(bound); };
  MemoryLevel level = MemoryLevel::safe;
  if (at_most(bounds_.emergency)) level = MemoryLevel::emergency;
  else if (at_most(bounds_.critical)) level = MemoryLevel::critical;
  else if (at_most(bounds_.warning)) level = MemoryLevel::warning;
  else if (at_most(bounds_.caution)) level = MemoryLevel::caution;
  return pressure >= kPressurePercent ? std::max(level, MemoryLevel::warning) : level;
}

bool MemoryLevels::update(std::uint64_t available_bytes, double pressure_percent, TimePoint now) {
  const auto available = static_cast<double>(available_bytes);
  if (const MemoryLevel worse = level_of(available, pressure_percent); worse > level_) {
    level_ = worse;
    better_since_.reset();
    return true;
  }
  const MemoryLevel better = level_of(available / kMoreThanBound, pressure_percent);
  if (better >= level_) {
    better_since_.reset();
    return false;
  }
  if (!better_since_) better_since_ = now;
  if (now - *better_since_ < kHold) return false;
  level_ = better;
  better_since_.reset();
  return true;
}

}  // namespace pensieve
