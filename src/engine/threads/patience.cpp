#include "engine/threads/patience.h"

#include <algorithm>

namespace pensieve {

bool Patience::brief(Time now) const { return ticks(now) < brief_until_.load(std::memory_order_relaxed); }

void Patience::in_vain(Time now) {
  const std::int64_t rest_before = rest_.load(std::memory_order_relaxed);
  const std::int64_t good_since = brief_until_.load(std::memory_order_relaxed);
  // It went well for longer than it rested: a new beginning.
  const bool went_well = ticks(now) - good_since > 2 * rest_before;
  const std::int64_t rest = went_well ? kRestMin.count() : std::min(2 * rest_before, kRestMax.count());
  rest_.store(rest, std::memory_order_relaxed);
  brief_until_.store(ticks(now) + rest, std::memory_order_relaxed);
}

}  // namespace pensieve
