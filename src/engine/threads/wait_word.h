// A number that one thread raises and others sleep for.
//
// std::atomic's wait() would do but for one thing: libstdc++ yields a few times before
// it sleeps, and beside other load each yield hands the core away for a whole slice of
// time (100 tokens beside four busy programs: 14 s instead of 5).
//
//   Threads  any.
#pragma once

#include <atomic>
#include <cstdint>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#endif

namespace pensieve {

class WaitWord {
 public:
  std::int32_t value() const { return value_.load(std::memory_order_acquire); }

  // Adds one, and wakes all who sleep.
  void raise() {
    value_.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers_.load(std::memory_order_seq_cst) > 0) wake();
  }

  // Returns when the value is no longer `old`.
  void sleep_while(std::int32_t old) {
    // Whoever raises sees the sleeper, or the sleeper sees the raised value: both orders are total.
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    while (value_.load(std::memory_order_seq_cst) == old) rest(old);
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
#ifdef __linux__
  // Returns at once if the value is not `old` any more; spurious returns are the caller's to bear.
  void rest(std::int32_t old) { syscall(SYS_futex, &value_, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0); }
  void wake() { syscall(SYS_futex, &value_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
  void rest(std::int32_t old) { value_.wait(old); }
  void wake() { value_.notify_all(); }
#endif

  std::atomic<std::int32_t> value_{0};
  std::atomic<std::int32_t> sleepers_{0};
};

static_assert(sizeof(std::atomic<std::int32_t>) == sizeof(std::int32_t), "the system looks at the number itself");

}  // namespace pensieve
