#include "admission/places.h"

#include <algorithm>
#include <cmath>

namespace pensieve {
namespace {

constexpr double kRetryMax = 60;  // Beyond a minute clients give up.

}  // namespace

Standing standing_of(const std::function<BodyKey()>& key, const WaitingLine& line, const Forecast& forecast,
                     Promises& promises, TimePoint now) {
  if (!promises.any_open(now)) return {};
  if (promises.redeem(key(), now)) return {0, true};
  // More is promised than what goes in half the time that can be promised: those who come newly are told to come back,
  // for some of them never do. Else promises would reach the end of that time, and who is told so then has none.
  const auto next = forecast.place_in(promises.expected_until(TimePoint::max(), now) + 1, now);
  if (next && *next > kRetryMax / 2) return {line.queue_max(), false};
  // Whoever enters the line now leaves it after so long: those who come until then want its place.
  const double wait =
      line.waiting() == 0 ? 0.0 : forecast.place_in(line.waiting(), now).value_or(line.service_seconds());
  return {promises.expected_until(now + std::chrono::duration_cast<SteadyClock::duration>(
                                            std::chrono::duration<double>(std::min(wait, kRetryMax))),
                                  now),
          false};
}

int retry_after(const WaitingLine& line, const Forecast& forecast, Promises& promises, BodyKey key, TimePoint now) {
  const auto place = forecast.place_in(promises.expected_until(TimePoint::max(), now) + 1, now);
  const int wait = place ? static_cast<int>(std::clamp(std::ceil(*place), 1.0, kRetryMax)) : line.retry_after_seconds();
  promises.make(key, now + std::chrono::seconds(wait), now, !place || *place <= kRetryMax);
  return wait;
}

}  // namespace pensieve
