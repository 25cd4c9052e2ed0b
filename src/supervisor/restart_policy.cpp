#include "supervisor/restart_policy.h"

#include <algorithm>

namespace pensieve {
namespace {

constexpr int kBlameOfASuspect = 4;
constexpr int kBlame = 2;
constexpr int kBlameFromOutside = 1;

}  // namespace

RestartPolicy::Verdict RestartPolicy::on_death(TimePoint now, std::span<const Running> running, bool from_outside) {
  const int blame = from_outside ? kBlameFromOutside : kBlame;
  deaths_.push_back(now);
  while (now - deaths_.front() > options_.window) deaths_.pop_front();
  for (const Running& request : running) {
    const auto known = std::ranges::find(witnesses_, request.key, &Witness::key);
    Witness witness{request.key, request.position, blame, now};
    if (known != witnesses_.end()) {
      const bool came_further = request.position > known->position;
      if (!came_further && now - known->last <= options_.suspect_for) witness.blame = known->blame + blame;
      witness.position = std::max(request.position, known->position);
      witnesses_.erase(known);
    }
    witnesses_.push_back(witness);
    if (witnesses_.size() > kSuspectsKept) witnesses_.pop_front();
  }

  Verdict verdict;
  verdict.restart = deaths_.size() <= options_.deaths_max;
  verdict.degraded = degraded(now);
  if (streak_ > 0) verdict.pause = std::min(options_.backoff_max, options_.backoff_first * (std::int64_t{1} << std::min<std::size_t>(streak_ - 1, 16)));
  ++streak_;
  return verdict;
}

void RestartPolicy::acquit(RequestKey key) {
  std::erase_if(witnesses_, [&](const Witness& witness) { return witness.key == key; });
}

bool RestartPolicy::is_suspect(RequestKey key, TimePoint now) const {
  const auto known = std::ranges::find(witnesses_, key, &Witness::key);
  return known != witnesses_.end() && known->blame >= kBlameOfASuspect && now - known->last <= options_.suspect_for;
}

bool RestartPolicy::degraded(TimePoint now) const { return 2 * deaths(now) > options_.deaths_max; }

std::size_t RestartPolicy::deaths(TimePoint now) const {
  return static_cast<std::size_t>(std::ranges::count_if(deaths_, [&](TimePoint at) { return now - at <= options_.window; }));
}

}  // namespace pensieve
