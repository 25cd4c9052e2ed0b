// What follows from a worker's death: is another one started, after which pause,
// with or without what it may do without, and which requests are to blame.
//
//   Owns     the deaths of the last window, and what is known of each request that
//            was running at one of them (the last kSuspectsKept).
//   Threads  one. Pure: time and state come in as arguments.
//   Units    positions are tokens of a request, prompt and answer together.
//
// Three rules:
//   * More than `deaths_max` deaths within `window`: no more workers. From half of
//     that on the worker is started degraded, until a window has passed in peace.
//   * The first death after some work is followed by a new worker at once; each
//     further one without work in between doubles the pause.
//   * A request that was running at two deaths, the second time without having come
//     further than the first, is a suspect. Known by content, not by id: a client
//     that sends the same again is refused, too, for `suspect_for`. One that comes
//     further every time was only there. A death from outside (SIGKILL that was not
//     ours: a person, or the system short of memory) weighs half: four make a suspect.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "base/clock.h"

namespace pensieve {

// What a request asks for, as a number: equal requests have equal keys.
enum class RequestKey : std::uint64_t {};

struct RestartOptions {
  std::size_t deaths_max = 5;
  std::chrono::milliseconds window{60000};
  std::chrono::milliseconds backoff_first{100};
  std::chrono::milliseconds backoff_max{5000};
  std::chrono::milliseconds suspect_for{600000};
};

class RestartPolicy {
 public:
  struct Running {
    RequestKey key{};
    std::int64_t position = 0;  // How far it had come.
  };
  struct Verdict {
    bool restart = true;
    bool degraded = false;
    std::chrono::milliseconds pause{0};
  };

  explicit RestartPolicy(const RestartOptions& options) : options_(options) {}

  Verdict on_death(TimePoint now, std::span<const Running> running, bool from_outside = false);
  void acquit(RequestKey key);  // It ran to its end: it is not what kills workers.
  void on_work() { streak_ = 0; }  // A request came on: the worker is not dying of itself.

  bool is_suspect(RequestKey key, TimePoint now) const;
  bool degraded(TimePoint now) const;
  std::size_t deaths(TimePoint now) const;  // Within the window.

  static constexpr std::size_t kSuspectsKept = 256;

 private:
  struct Witness {
    RequestKey key{};
    std::int64_t position = 0;
    int blame = 0;  // Without having come further.
    TimePoint last{};
  };

  RestartOptions options_;
  std::deque<TimePoint> deaths_;
  std::deque<Witness> witnesses_;  // Oldest first.
  std::size_t streak_ = 0;
};

}  // namespace pensieve
