// How long a thread spins for the others before it gives its core up.
//
// Spinning is right while every thread of the team has a core: the others come
// within microseconds, and to sleep and be woken costs more than that, hundreds of
// times a token. It is wrong once something else wants the cores: then the late
// thread waits for the very core on which the early one spins. So: spin long while
// that pays. A long spin in vain while the system took a core from one of our threads
// means that there are others. Where much of the time goes that way, spin briefly from then on,
// and try again after a rest that doubles with each failure. Where it is little (a server that
// looks at each token, on a machine of many cores) to sleep at every barrier would cost
// more. A long spin in vain without a core taken is a hiccup of the machine below us, which
// sleeping does not shorten (docs/decisions/0009).
//
//   Threads  any; the state is a few relaxed atomics, and a lost update costs nothing.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace pensieve {

class Patience {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Span = std::chrono::nanoseconds;

  static constexpr Span kLong = std::chrono::milliseconds(1);  // Many times what the others are late when each has its core.
  static constexpr Span kBrief = std::chrono::microseconds(20);
  static constexpr Span kHiccup = std::chrono::milliseconds(10);  // Nobody spins longer, whatever the reason.
  // So much time in vain, less a quarter of the time that passes, is too much.
  static constexpr Span kVainMax = std::chrono::milliseconds(4);
  static constexpr int kVainShare = 4;
  static constexpr Span kRestMin = std::chrono::milliseconds(4);
  static constexpr Span kRestMax = std::chrono::seconds(1);

  // Whether to spin only briefly from `now` on.
  bool brief(Time now) const;

  // A long spin from `begun` to `now` was in vain, and cores had been taken from us. All that wait for the same
  // thread say so at the same time; it counts once.
  void in_vain(Time begun, Time now);

 private:
  static std::int64_t ticks(Time time) { return time.time_since_epoch() / Span(1); }

  std::atomic<std::int64_t> brief_until_{0};  // Ticks of the steady clock.
  std::atomic<std::int64_t> rest_{Span(kRestMin).count()};
  std::atomic<std::int64_t> vain_{0};       // Lost by spins in vain,
  std::atomic<std::int64_t> vain_until_{0}; // the last of which ended then.
};

}  // namespace pensieve
