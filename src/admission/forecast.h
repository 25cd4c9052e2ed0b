// How long until a request's first token, said before it enters: from where it stands
// in line, from what those before it have left to read and to say, and from the pace
// that the worker measured. Its other use is retry-after: when will there be a place.
//
//   Owns     what is known of every request from its admission to its end (Job), how
//            long answers have been lately, and which prompts were read lately.
//   Threads  the I/O thread. Time comes in as an argument.
//   Units    seconds; tokens.
//   Errors   none: without a measured pace there is no forecast (nullopt).
//
// The sum follows the worker's step loop (worker/step_loop.cpp): one prompt is read at a
// time, in order of arrival, a chunk between two decode steps of the others; slots are given
// in order. What it cannot know it takes from the past: how long an answer will be (max_tokens
// bounds it), and how much of a prompt lies in the KV cache (blocks of prompts read lately).
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "cache/block_key.h"
#include "core/pace.h"
#include "core/request.h"

namespace pensieve {

// How long answers are, from the last ones: those that max_tokens ended would have gone on.
class AnswerLengths {
 public:
  void add(std::int64_t tokens, bool cut_off);
  // What is to be expected of an answer that said so much, up to `max_tokens`: an estimate by Kaplan and Meier, and
  // beyond the longest one known as often as they end by themselves.
  double expected_left(std::int64_t said, std::int64_t max_tokens) const;

  static constexpr std::size_t kKnownMax = 64;

 private:
  struct Known {
    std::int64_t tokens = 0;
    bool cut_off = false;
  };
  std::deque<Known> known_;
};

class Forecast {
 public:
  struct Job {
    std::int64_t prompt_left = 0;
    std::int64_t said = 0;
    std::int64_t max_tokens = 0;
  };

  // A request's entry, in order of arrival; leaves when destroyed.
  class Entry {
   public:
    Entry(Entry&& other) noexcept : forecast_(std::exchange(other.forecast_, nullptr)), job_(other.job_), blocks_(std::move(other.blocks_)), rest_(std::move(other.rest_)) {}
    Entry& operator=(Entry&&) = delete;
    ~Entry() {
      if (forecast_ == nullptr) return;
      forecast_->jobs_.erase(job_);
      if (forecast_->jobs_.empty()) forecast_->step_began_.reset();
    }
    void began(TimePoint now);  // The worker has it.
    void left_to_read(std::int64_t tokens, TimePoint now);
    void said(std::int64_t tokens, TimePoint now);
    void ended(bool at_max_tokens);  // By itself, after so much was said: what answers are like.

   private:
    friend class Forecast;
    Entry(Forecast* forecast, std::list<Job>::iterator job, std::vector<BlockKey> blocks, std::vector<TokenId> rest) : forecast_(forecast), job_(job), blocks_(std::move(blocks)), rest_(std::move(rest)) {}
    Forecast* forecast_;
    std::list<Job>::iterator job_;
    std::vector<BlockKey> blocks_;  // The whole ones of its prompt, for seen_,
    std::vector<TokenId> rest_;     // and what is behind them, for ends_.
  };

  explicit Forecast(std::size_t slots) : slots_(slots) {}

  void set_pace(Pace pace) { pace_ = std::move(pace); }
  const Pace& pace() const { return pace_; }
  Entry enter(std::span<const TokenId> prompt, std::int64_t max_tokens);
  Entry enter(std::int64_t tokens);  // That are read, all of them, and nothing is said.

  // What a forecast was made of, to be held against what came.
  struct Parts {
    double slot_in = 0;        // When it has a slot,
    double first_in = 0;       // and its first token.
    std::int64_t own = 0;      // Tokens of its prompt that are to be read.
    std::size_t ahead = 0;     // Requests before it,
    std::int64_t to_read = 0;  // what they have left to read
    std::int64_t to_say = 0;   // and to say.
  };
  // Of the request that entered last.
  std::optional<Parts> first_token(TimePoint now) const;
  std::optional<double> first_token_in(TimePoint now) const;
  // When the n-th (from 1) of those that wait now, or will wait, has left the line for a slot.
  std::optional<double> place_in(std::size_t n, TimePoint now) const;

  static constexpr std::size_t kBlocksMax = 4096;
  static constexpr std::size_t kEndsMax = 64;

 private:
  struct Times {
    std::vector<double> slot_in;   // Of each job: when it has a slot (0: it has),
    std::vector<double> first_in;  // and when its first token comes.
    double all_in = 0;             // When all of them have ended.
  };
  // How a prompt that was read ended: behind its last whole block so many tokens, then the answer's.
  struct End {
    BlockKey parent;
    std::vector<TokenId> rest;
    std::int64_t said = 0;
  };
  std::int64_t known_of_rest(const BlockKey& parent, std::span<const TokenId> rest) const;
  Times run(std::vector<Job> jobs, double under_way) const;
  std::vector<Job> expected() const;
  double under_way(TimePoint now) const;
  double step_seconds(std::size_t rows) const;
  bool measured() const { return pace_.alone_tokens_per_second > 0; }

  std::size_t slots_;
  Pace pace_;
  std::list<Job> jobs_;
  std::optional<TimePoint> step_began_;  // The worker's, as far as it was heard of those that are here.
  AnswerLengths answers_;
  std::set<BlockKey> seen_;
  std::deque<BlockKey> seen_order_;
  std::deque<End> ends_;  // The last one first.
};

}  // namespace pensieve
