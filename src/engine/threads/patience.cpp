#include "engine/threads/patience.h"

#include <algorithm>

namespace pensieve {

bool Patience::brief(Time now) const { return ticks(now) < brief_until_.load(std::memory_order_relaxed); }

void Patience::in_vain(Time begun, Time now) {
  std::int64_t last = vain_until_.load(std::memory_order_relaxed);
  if (last > ticks(begun) || !vain_until_.compare_exchange_strong(last, ticks(now), std::memory_order_relaxed)) return;  // Another thread has said so.
  const std::int64_t left = std::max<std::int64_t>(0, vain_.load(std::memory_order_relaxed) - (ticks(now) - last) / kVainShare);
  const std::int64_t vain = left + (ticks(now) - ticks(begun));
  vain_.store(vain, std::memory_order_relaxed);
  if (vain <= kVainMax.count()) return;
  vain_.store(0, std::memory_order_relaxed);
  const std::int64_t rest_before = rest_.load(std::memory_order_relaxed);
  const std::int64_t good_since = brief_until_.load(std::memory_order_relaxed);
  // It went well for longer than it rested: a new beginning.
  const bool went_well = ticks(now) - good_since > 2 * rest_before;
  const std::int64_t rest = went_well ? kRestMin.count() : std::min(2 * rest_before, kRestMax.count());
  rest_.store(rest, std::memory_order_relaxed);
  brief_until_.store(ticks(now) + rest, std::memory_order_relaxed);
}

}  // namespace pensieve
