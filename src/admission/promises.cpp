#include "admission/promises.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "cache/checksum.h"

namespace pensieve {
namespace {

constexpr double kNewest = 0.05;  // Weight of the newest in the moving average.

}  // namespace

BodyKey key_of_body(std::string_view body) { return BodyKey{checksum_64(std::as_bytes(std::span(body)))}; }

void Promises::forget_old(TimePoint now) {
  const std::size_t old = std::erase_if(promises_, [now](const Promise& promise) { return promise.due + kGrace < now; });
  for (std::size_t i = 0; i < old; ++i) kept_share_ -= kNewest * kept_share_;
}

void Promises::make(BodyKey key, TimePoint due, TimePoint now, bool sure) {
  forget_old(now);
  if (promises_.size() < kPromisesMax) promises_.push_back({key, due, sure});
}

bool Promises::redeem(BodyKey key, TimePoint now) {
  forget_old(now);
  const auto found = std::ranges::find_if(promises_, [&](const Promise& promise) { return promise.key == key && promise.due - kEarly <= now; });
  if (found == promises_.end()) return false;
  promises_.erase(found);
  kept_share_ += kNewest * (1 - kept_share_);
  return true;
}

std::size_t Promises::expected_until(TimePoint until, TimePoint now) {
  const std::size_t due = due_until(until, now);
  return static_cast<std::size_t>(std::ceil(kept_share_ * static_cast<double>(due)));
}

bool Promises::any_open(TimePoint now) {
  forget_old(now);
  return !promises_.empty();
}

std::size_t Promises::due_until(TimePoint until, TimePoint now) {
  forget_old(now);
  return static_cast<std::size_t>(std::ranges::count_if(
      promises_, [until](const Promise& promise) { return promise.sure && promise.due <= until; }));
}

}  // namespace pensieve
