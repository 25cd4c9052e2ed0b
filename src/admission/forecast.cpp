#include "admission/forecast.h"

#include <algorithm>
#include <cmath>

namespace pensieve {
namespace {

// Before any answer is known they end by themselves as often as this.
constexpr double kTokensPrior = 2000;

}  // namespace

void AnswerLengths::add(std::int64_t tokens, bool cut_off) {
  known_.push_back({tokens, cut_off});
  if (known_.size() > kKnownMax) known_.pop_front();
}

double AnswerLengths::expected_left(std::int64_t said, std::int64_t max_tokens) const {
  if (said >= max_tokens) return 0;
  std::vector<Known> longer;
  double tokens = kTokensPrior, ends = 1;
  for (const Known& known : known_) {
    tokens += static_cast<double>(known.tokens);
    ends += known.cut_off ? 0 : 1;
    if (known.tokens > said) longer.push_back(known);
  }
  std::ranges::sort(longer, {}, &Known::tokens);
  double left = 0, goes_on = 1;
  auto at = static_cast<double>(said);
  const auto end = static_cast<double>(max_tokens);
  auto those = static_cast<double>(longer.size());
  for (const Known& known : longer) {
    const double next = std::min(static_cast<double>(known.tokens), end);
    left += goes_on * (next - at);
    at = next;
    if (at >= end) return left;
    if (!known.cut_off) goes_on *= 1 - 1 / those;
    --those;
  }
  const double each = ends / tokens;
  return left + goes_on * (1 - std::exp(-each * (end - at))) / each;
}

Forecast::Entry Forecast::enter(std::span<const TokenId> prompt, std::int64_t max_tokens) {
  std::vector<BlockKey> blocks = chain_of(BlockKey{}, prompt);
  const auto known = std::ranges::find_if(blocks, [this](const BlockKey& name) { return !seen_.contains(name); }) - blocks.begin();
  const auto behind_known = prompt.subspan(static_cast<std::size_t>(known) * kBlockTokens);
  const std::int64_t left = std::ssize(behind_known) - known_of_rest(known == 0 ? BlockKey{} : blocks[static_cast<std::size_t>(known) - 1], behind_known);
  jobs_.push_back({std::max<std::int64_t>(1, left), 0, max_tokens});
  const auto rest = prompt.subspan(blocks.size() * kBlockTokens);
  return {this, std::prev(jobs_.end()), std::move(blocks), {rest.begin(), rest.end()}};
}

// A conversation that goes on brings the answer back, whose tokens are not known here, but their number is.
std::int64_t Forecast::known_of_rest(const BlockKey& parent, std::span<const TokenId> rest) const {
  std::int64_t known = 0;
  for (const End& end : ends_) {
    if (end.parent != parent) continue;
    const auto common = std::ranges::mismatch(end.rest, rest).in1 - end.rest.begin();
    known = std::max(known, common == std::ssize(end.rest) ? std::min(common + end.said, std::ssize(rest)) : common);
  }
  return known;
}

Forecast::Entry Forecast::enter(std::int64_t tokens) {
  jobs_.push_back({std::max<std::int64_t>(1, tokens), 0, 0});
  return {this, std::prev(jobs_.end()), {}, {}};
}

void Forecast::Entry::began(TimePoint now) {
  if (!forecast_->step_began_) forecast_->step_began_ = now;
}

void Forecast::Entry::left_to_read(std::int64_t tokens, TimePoint now) {
  job_->prompt_left = tokens;
  forecast_->step_began_ = now;
}

void Forecast::Entry::said(std::int64_t tokens, TimePoint now) {
  job_->said += tokens;
  job_->prompt_left = 0;
  forecast_->step_began_ = now;
}

void Forecast::Entry::ended(bool at_max_tokens) {
  Forecast& forecast = *forecast_;
  forecast.answers_.add(job_->said, at_max_tokens);
  forecast.ends_.push_front({blocks_.empty() ? BlockKey{} : blocks_.back(), std::move(rest_), job_->said});
  if (forecast.ends_.size() > kEndsMax) forecast.ends_.pop_back();
  for (const BlockKey& name : blocks_) {
    if (!forecast.seen_.insert(name).second) continue;
    forecast.seen_order_.push_back(name);
    if (forecast.seen_order_.size() <= kBlocksMax) continue;
    forecast.seen_.erase(forecast.seen_order_.front());
    forecast.seen_order_.pop_front();
  }
}

std::vector<Forecast::Job> Forecast::expected() const {
  std::vector<Job> jobs;
  for (const Job& job : jobs_) {
    const double left = answers_.expected_left(job.said, job.max_tokens);
    jobs.push_back({job.prompt_left, 0, static_cast<std::int64_t>(std::lround(left))});
  }
  return jobs;
}

double Forecast::step_seconds(std::size_t rows) const {
  if (rows == 0) return 0;
  const std::vector<double>& steps = pace_.step_seconds;
  // More than one step holds take turns; what was not measured is taken from its nearest neighbour.
  if (rows > steps.size() && !steps.empty()) return step_seconds(steps.size()) * static_cast<double>(rows) / static_cast<double>(steps.size());
  for (std::size_t away = 0; away < steps.size(); ++away) {
    if (rows > away && rows - away <= steps.size() && steps[rows - away - 1] > 0) return steps[rows - away - 1];
    if (rows + away <= steps.size() && steps[rows + away - 1] > 0) return steps[rows + away - 1];
  }
  return 0;
}

// Seconds since the worker began the step that it is at.
double Forecast::under_way(TimePoint now) const {
  return jobs_.size() > 1 && step_began_ ? std::max(0.0, seconds(now - *step_began_)) : 0.0;
}

// From event to event: a prompt is read to its end, or an answer ends. `max_tokens` is what is left to say.
Forecast::Times Forecast::run(std::vector<Job> jobs, double under_way) const {
  Times times;
  times.slot_in.resize(jobs.size());
  times.first_in.resize(jobs.size());
  const double alone = 1 / pace_.alone_tokens_per_second;
  const double beside = pace_.beside_tokens_per_second > 0 ? 1 / pace_.beside_tokens_per_second : alone;
  const double chunk = pace_.beside_chunk > 0 ? pace_.beside_chunk : 64;
  std::vector<std::size_t> active;
  std::size_t next = 0;
  double now = 0;
  bool first = true;
  while (true) {
    for (; next < jobs.size() && active.size() < slots_; ++next) {
      times.slot_in[next] = std::max(0.0, now);
      active.push_back(next);
    }
    if (active.empty()) break;
    const auto reading = std::ranges::find_if(active, [&](std::size_t i) { return jobs[i].prompt_left > 0; });
    std::int64_t least = INT64_MAX;
    std::size_t decoding = 0;
    for (const std::size_t i : active) {
      if (jobs[i].prompt_left > 0) continue;
      least = std::min(least, std::max<std::int64_t>(1, jobs[i].max_tokens));
      ++decoding;
    }
    const double step = step_seconds(decoding);
    if (std::exchange(first, false)) {  // A part of this step is done.
      double whole = step;
      if (reading != active.end()) whole = static_cast<double>(jobs[*reading].prompt_left) * alone;
      if (reading != active.end() && decoding > 0)
        whole = std::min(static_cast<double>(jobs[*reading].prompt_left), chunk) * beside;
      now -= std::min(under_way, whole);
    }
    std::int64_t steps = least;
    std::optional<std::size_t> read_now;
    if (reading != active.end()) {
      Job& job = jobs[*reading];
      const auto chunks = static_cast<std::int64_t>(std::ceil(static_cast<double>(job.prompt_left) / chunk));
      steps = decoding == 0 ? 0 : std::min(least, chunks);
      const bool to_its_end = decoding == 0 || steps == chunks;
      const double tokens = to_its_end ? static_cast<double>(job.prompt_left) : static_cast<double>(steps) * chunk;
      now += tokens * (decoding == 0 ? alone : beside) + static_cast<double>(steps) * step;
      job.prompt_left -= static_cast<std::int64_t>(tokens);
      if (to_its_end) {
        read_now = *reading;
        times.first_in[*reading] = std::max(0.0, now);  // The prompt's last step samples it.
        job.prompt_left = 0;
        --job.max_tokens;
      }
    } else {
      now += static_cast<double>(steps) * step;
    }
    std::erase_if(active, [&](std::size_t i) {
      Job& job = jobs[i];
      if (job.prompt_left > 0) return false;
      if (i != read_now) job.max_tokens -= steps;
      return job.max_tokens <= 0;
    });
  }
  times.all_in = std::max(0.0, now);
  return times;
}

std::optional<Forecast::Parts> Forecast::first_token(TimePoint now) const {
  if (!measured() || jobs_.empty()) return std::nullopt;
  const std::vector<Job> jobs = expected();
  const Times times = run(jobs, under_way(now));
  Parts parts{times.slot_in.back(), times.first_in.back(), jobs.back().prompt_left, jobs.size() - 1, 0, 0};
  for (std::size_t i = 0; i < parts.ahead; ++i) {
    parts.to_read += jobs[i].prompt_left;
    parts.to_say += jobs[i].max_tokens;
  }
  return parts;
}

std::optional<double> Forecast::first_token_in(TimePoint now) const {
  const auto parts = first_token(now);
  return parts ? std::optional(parts->first_in) : std::nullopt;
}

std::optional<double> Forecast::place_in(std::size_t n, TimePoint now) const {
  if (!measured() || jobs_.empty()) return std::nullopt;
  const Times times = run(expected(), under_way(now));
  const std::size_t waiting = jobs_.size() > slots_ ? jobs_.size() - slots_ : 0;
  if (n <= waiting) return times.slot_in[slots_ + n - 1];
  // Beyond those that are known, as fast as they go.
  const double each = times.all_in / static_cast<double>(jobs_.size());
  return (waiting > 0 ? times.slot_in.back() : 0) + each * static_cast<double>(n - waiting);
}

}  // namespace pensieve
