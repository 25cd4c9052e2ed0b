// Overload without a server, a model or a clock: the real admission (waiting line, forecast, promises) and
// the worker's rules of planning (worker/plan.h, pace_meter.h), on a machine that is a formula. So it shows what the
// forecast leaves out, and nothing of a machine's noise but what it is told to make.
//
//   Threads  one. The same seed gives the same run.
#pragma once

#include <boost/asio/io_context.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "admission/forecast.h"
#include "admission/places.h"
#include "admission/promises.h"
#include "admission/waiting_line.h"
#include "worker/pace_meter.h"
#include "worker/plan.h"

namespace pensieve::sim {

// What steps take. The standard values are those of the 246 M shapes on some 16 cores.
struct Machine {
  double chunk_seconds = 0.008;     // A piece of a prompt takes this,
  double row_seconds = 1.0 / 1700;  // for each row this,
  double depth_seconds = 2e-8;      // and for each row and each token before it this.
  double step_seconds = 0.004;      // A decode step, and for each row of it.
  double step_row_seconds = 0.0015;
  double handover_seconds =
      0.002;                  // From the end of one to the start of the next: sockets, pipes, a look at the inbox.
  double noise = 0.03;        // Of each step, standard deviation.
  double drift = 0.05;        // Of all steps together, over
  double drift_seconds = 10;  // so long.
};

struct Load {
  std::size_t slots = 2;
  std::size_t queue = 8;
  double per_second = 1;  // 0: closed loop, one more than the slots.
  double seconds = 300;
  double obeying = 1;  // Share of those sent away that come back as told.
  int words_min = 50, words_max = 400;
  double tokens_a_word = 3;
  int answer_min = 16, answer_max = 48;
  double ends_early = 0;         // Probability, with each token, that an answer ends by itself.
  double max_tokens_factor = 1;  // What clients ask for, over what their answers come to at most.
};

struct Outcome {
  double predicted = 0;
  double came = 0;
};

struct Seen {
  std::vector<Outcome> accepted;
  int sent = 0, refused = 0, obeyed = 0, obeyed_answered = 0, complete = 0;
  double seconds = 0;
  double within(double part = 0.2) const {
    return share([part](const Outcome& o) { return std::abs(o.came - o.predicted) <= part * o.predicted; });
  }
  double no_later() const {
    return share([](const Outcome& o) { return o.came <= 1.2 * o.predicted; });
  }
  double obeyed_share() const { return obeyed == 0 ? 1 : static_cast<double>(obeyed_answered) / obeyed; }
  template <typename Holds>
  double share(Holds holds) const {
    return accepted.empty()
               ? 1
               : static_cast<double>(std::ranges::count_if(accepted, holds)) / static_cast<double>(accepted.size());
  }
  double ratio(double part) const {
    std::vector<double> all;
    for (const Outcome& o : accepted) all.push_back(o.came / o.predicted);
    std::ranges::sort(all);
    return all.empty()
               ? 1
               : all[std::min(all.size() - 1, static_cast<std::size_t>(part * static_cast<double>(all.size())))];
  }
};

class Overload {
 public:
  Overload(Machine machine, std::size_t slots, std::size_t queue, std::uint64_t seed)
      : machine_(machine), line_(io_.get_executor(), slots, queue), forecast_(slots), random_(seed) {}

  // Goes on with what was measured before.
  Seen run(const Load& load) {
    load_ = load;
    result_ = {};
    const double begun = now_, end = now_ + load.seconds;
    if (load.per_second > 0) {
      for (double t = now_ + gap(); t < end; t += gap()) due_.emplace(t, make_request());
    } else {
      for (std::size_t i = 0; i <= load.slots; ++i) due_.emplace(now_, make_request());
    }
    until_ = end;
    while (step()) {
    }
    result_.seconds = now_ - begun;
    now_ += 6;  // Promises that nobody came for are forgotten.
    return result_;
  }

 private:
  struct Request {
    int number = 0;
    std::int32_t prompt = 0;
    std::int32_t answer = 0;      // So long it will be,
    std::int32_t max_tokens = 0;  // which nobody knows.
    bool obeys = false;
    bool again = false;
  };
  struct Run {  // One that was let in.
    Run(Request of, double at, WaitingLine::Place in) : request(of), arrived(at), place(std::move(in)) {}
    Request request;
    double arrived;
    WaitingLine::Place place;
    std::optional<Forecast::Entry> job;
    std::optional<double> predicted;
    std::optional<double> first;
    std::optional<double> handed_at;  // To the worker.
    std::int32_t read = 0, said = 0;
    bool in_worker = false;
    bool done = false;
  };

  double uniform() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  double gap() { return -std::log(1 - uniform()) / load_.per_second; }
  TimePoint at(double t) const {
    return TimePoint{} + std::chrono::hours(1) +
           std::chrono::duration_cast<SteadyClock::duration>(std::chrono::duration<double>(t));
  }

  Request make_request() {
    Request request;
    request.number = ++numbers_;
    request.prompt = static_cast<std::int32_t>((load_.words_min + uniform() * (load_.words_max - load_.words_min)) *
                                               load_.tokens_a_word);
    request.max_tokens = request.answer =
        load_.answer_min + static_cast<std::int32_t>(uniform() * (load_.answer_max - load_.answer_min));
    if (load_.ends_early > 0) {
      for (request.answer = 1; request.answer < request.max_tokens && uniform() > load_.ends_early;) ++request.answer;
    }
    request.max_tokens = static_cast<std::int32_t>(request.max_tokens * load_.max_tokens_factor);
    request.obeys = uniform() < load_.obeying;
    return request;
  }

  // As Api::enter() and Api::generate() do it.
  void arrive(double t, Request request) {
    if (!request.again) ++result_.sent;
    const TimePoint when = at(t);
    const BodyKey key{static_cast<std::uint64_t>(request.number)};
    poll(t);
    const auto [reserved, promised] = standing_of([key] { return key; }, line_, forecast_, promises_, when);
    auto place = line_.try_enter(reserved, promised);
    if (!place) {
      if (request.again) return;
      ++result_.refused;
      const int wait = retry_after(line_, forecast_, promises_, key, when);
      if (!request.obeys) return;
      ++result_.obeyed;
      request.again = true;
      due_.emplace(t + wait, request);
      return;
    }
    runs_.emplace_back(request, t, *std::move(place));
    Run& run = runs_.back();
    std::vector<TokenId> prompt(static_cast<std::size_t>(request.prompt), request.number);
    run.job.emplace(forecast_.enter(prompt, request.max_tokens));
    run.predicted = forecast_.first_token_in(at(t));
    hand_over(t);
  }

  void hand_over(double t) {
    for (Run& run : runs_) {
      if (!run.handed_at && run.place.running()) {
        run.handed_at = t + machine_.handover_seconds;
        run.job->began(at(*run.handed_at));
      }
    }
  }

  // The supervisor asks for the worker's counters once a second.
  void poll(double t) {
    if (t < next_poll_) return;
    next_poll_ = t + 1;
    forecast_.set_pace(meter_.pace());
  }

  double noisy(double span) {
    return span * drift_ * std::max(0.5, std::normal_distribution<double>(1, machine_.noise)(random_));
  }
  void drift(double span) {  // Ornstein-Uhlenbeck.
    const double keep = std::exp(-span / machine_.drift_seconds);
    level_ = keep * level_ + std::sqrt(1 - keep * keep) * std::normal_distribution<double>(0, machine_.drift)(random_);
    drift_ = std::exp(level_);
  }

  // One step of the worker's loop, and what comes meanwhile. False: nothing is left.
  bool step() {
    std::vector<Run*> running;
    double soonest = 1e18;
    for (Run& run : runs_) {
      if (!run.handed_at || run.done) continue;
      if (*run.handed_at <= now_)
        running.push_back(&run);
      else
        soonest = std::min(soonest, *run.handed_at);
    }
    if (running.empty()) {
      if (!due_.empty()) soonest = std::min(soonest, due_.begin()->first);
      if (soonest > 1e17) return false;
      pass_until(std::max(now_, soonest));
      return true;
    }
    const auto reading = std::ranges::find_if(running, [](const Run* run) { return run->read < run->request.prompt; });
    std::vector<Run*> decoding;
    for (Run* run : running) {
      if (run->read == run->request.prompt) decoding.push_back(run);
    }
    const bool beside = !decoding.empty();
    const bool enter = reading != running.end() && (enter_next_ || !beside);
    enter_next_ = !enter;
    if (enter) {
      Run& run = **reading;
      const std::int32_t chunk = prefill_chunk(rate_, std::chrono::duration<double>(0.2), 512, beside);
      const std::int32_t end = prefill_chunk_end(run.read, run.request.prompt, chunk);
      const std::int32_t rows = end - run.read;
      const double span =
          noisy(machine_.chunk_seconds + rows * (machine_.row_seconds + machine_.depth_seconds * run.read));
      pass_until(now_ + span);
      rate_ = rate_ == 0 ? rows / span : 0.7 * rate_ + 0.3 * rows / span;
      meter_.read(static_cast<std::size_t>(rows), beside, std::chrono::duration<double>(span));
      run.read = end;
      if (end < run.request.prompt)
        run.job->left_to_read(run.request.prompt - end, at(now_));
      else
        said(run);
    } else {
      const double span =
          noisy(machine_.step_seconds + machine_.step_row_seconds * static_cast<double>(decoding.size()));
      pass_until(now_ + span);
      meter_.decoded(decoding.size(), std::chrono::duration<double>(span));
      for (Run* run : decoding) said(*run);
    }
    std::erase_if(runs_, [](const Run& run) { return run.done; });
    hand_over(now_);
    return true;
  }

  void said(Run& run) {
    if (run.said++ == 0) {
      run.first = now_;
      if (run.predicted) result_.accepted.push_back({*run.predicted, now_ - run.arrived});
    }
    run.job->said(1, at(now_));
    if (run.said < run.request.answer) return;
    run.job->ended(run.said == run.request.max_tokens);
    run.done = true;
    ++result_.complete;
    if (run.request.again) ++result_.obeyed_answered;
    if (load_.per_second <= 0 && now_ < until_) due_.emplace(now_, make_request());
  }

  void pass_until(double t) {
    while (!due_.empty() && due_.begin()->first <= t) {
      const auto [when, request] = *due_.begin();
      due_.erase(due_.begin());
      arrive(std::max(when, now_), request);
    }
    drift(t - now_);
    now_ = t;
    poll(t);
  }

  Machine machine_;
  boost::asio::io_context io_;
  WaitingLine line_;
  Forecast forecast_;
  Promises promises_;
  PaceMeter meter_;
  std::mt19937_64 random_;
  Load load_;
  Seen result_;
  std::multimap<double, Request> due_;  // What clients will send.
  std::list<Run> runs_;                 // In order of arrival.
  double now_ = 0, until_ = 0, next_poll_ = 0;
  double level_ = 0, drift_ = 1;
  double rate_ = 0;
  bool enter_next_ = true;
  int numbers_ = 0;
};

}  // namespace pensieve::sim
