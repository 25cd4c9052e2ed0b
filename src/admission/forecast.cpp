#include "admission/forecast.h"

#include <algorithm>
#include <cmath>

namespace pensieve {
namespace {

constexpr double kNewest = 0.1;  // Weight of the newest in moving averages.

}  // namespace

Forecast::Entry Forecast::enter(std::span<const TokenId> prompt, std::int64_t max_tokens) {
  std::vector<BlockKey> blocks = chain_of(BlockKey{}, prompt);
  const auto known = std::ranges::find_if(blocks, [this](const BlockKey& name) { return !seen_.contains(name); }) - blocks.begin();
  jobs_.push_back({std::ssize(prompt) - known * kBlockTokens, 0, max_tokens});
  jobs_.back().prompt_left = std::max<std::int64_t>(1, jobs_.back().prompt_left);
  return {this, std::prev(jobs_.end()), std::move(blocks)};
}

void Forecast::Entry::ended(bool at_max_tokens) {
  Forecast& forecast = *forecast_;
  forecast.full_share_ += kNewest * ((at_max_tokens ? 1.0 : 0.0) - forecast.full_share_);
  if (!at_max_tokens) {
    const auto said = static_cast<double>(job_->said);
    forecast.answer_tokens_ = forecast.answer_tokens_ == 0 ? said : forecast.answer_tokens_ + kNewest * (said - forecast.answer_tokens_);
  }
  for (const BlockKey& name : blocks_) {
    if (!forecast.seen_.insert(name).second) continue;
    forecast.seen_order_.push_back(name);
    if (forecast.seen_order_.size() <= kBlocksMax) continue;
    forecast.seen_.erase(forecast.seen_order_.front());
    forecast.seen_order_.pop_front();
  }
}

// An answer that has gone on for longer than usual goes on for a while more.
double Forecast::expected_left(const Job& job) const {
  const auto to_max = static_cast<double>(std::max<std::int64_t>(0, job.max_tokens - job.said));
  const double usual = std::max(answer_tokens_ - static_cast<double>(job.said), answer_tokens_ / 4);
  return full_share_ * to_max + (1 - full_share_) * std::min(to_max, usual);
}

std::vector<Forecast::Job> Forecast::expected() const {
  std::vector<Job> jobs;
  for (const Job& job : jobs_) jobs.push_back({job.prompt_left, 0, static_cast<std::int64_t>(std::lround(expected_left(job)))});
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

// From event to event: a prompt is read to its end, or an answer ends. `max_tokens` is what is left to say.
Forecast::Times Forecast::run(std::vector<Job> jobs) const {
  Times times;
  times.slot_in.resize(jobs.size());
  times.first_in.resize(jobs.size());
  const double alone = 1 / pace_.alone_tokens_per_second;
  const double beside = pace_.beside_tokens_per_second > 0 ? 1 / pace_.beside_tokens_per_second : alone;
  const double chunk = pace_.beside_chunk > 0 ? pace_.beside_chunk : 64;
  std::vector<std::size_t> active;
  std::size_t next = 0;
  double now = 0;
  while (true) {
    for (; next < jobs.size() && active.size() < slots_; ++next) {
      times.slot_in[next] = now;
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
        times.first_in[*reading] = now;  // The prompt's last step samples it.
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
  times.all_in = now;
  return times;
}

std::optional<double> Forecast::first_token_in() const {
  if (!measured() || jobs_.empty()) return std::nullopt;
  return run(expected()).first_in.back();
}

std::optional<double> Forecast::place_in(std::size_t n) const {
  if (!measured() || jobs_.empty()) return std::nullopt;
  const Times times = run(expected());
  const std::size_t waiting = jobs_.size() > slots_ ? jobs_.size() - slots_ : 0;
  if (n <= waiting) return times.slot_in[slots_ + n - 1];
  // Beyond those that are known, as fast as they go.
  const double each = times.all_in / static_cast<double>(jobs_.size());
  return (waiting > 0 ? times.slot_in.back() : 0) + each * static_cast<double>(n - waiting);
}

}  // namespace pensieve
