// What the wire thread hands to the engine thread: requests ready to run and
// words about those that do. The only state the two threads share.
//
//   Threads  push() from the wire thread, take() from the engine thread.
//   Blocks   take(wait = true) until something is there.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <variant>

#include "base/mutex.h"
#include "wire/frames.h"

namespace pensieve {

struct EndOfInput {};  // Finish what runs, then stop.

using Order = std::variant<wire::Generate, wire::Embed, wire::Cancel, wire::Pause, wire::Resume, wire::Memory, wire::Shutdown, EndOfInput>;

class Inbox {
 public:
  void push(Order order) {
    {
      const std::lock_guard lock(mutex_);
      orders_.push_back(std::move(order));
    }
    arrived_.notify_one();
  }

  // Until something is there, or `span` went by.
  void wait(std::chrono::milliseconds span) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, span, [this] { return !orders_.empty(); });
  }

  std::deque<Order> take(bool wait) {
    std::unique_lock lock(mutex_);
    if (wait) arrived_.wait(lock, [this] { return !orders_.empty(); });
    return std::exchange(orders_, {});
  }

 private:
  std::mutex mutex_;  // Not base/mutex.h: a condition variable waits on it.
  std::condition_variable arrived_;
  std::deque<Order> orders_;
};

// Written by the engine thread, read by the wire thread's answer to `health`.
struct Progress {
  std::atomic<std::uint64_t> steps = 0;
  std::atomic<std::int32_t> running = 0;
  std::atomic<std::int32_t> waiting = 0;

  void publish(wire::KvFacts facts, Pace pace) {
    const MutexLock lock(mutex_);
    kv_ = std::move(facts);
    pace_ = std::move(pace);
  }
  Pace pace() const {
    const MutexLock lock(mutex_);
    return pace_;
  }
  wire::KvFacts kv() const {
    const MutexLock lock(mutex_);
    return kv_;
  }

 private:
  mutable Mutex mutex_;
  wire::KvFacts kv_ GUARDED_BY(mutex_);
  Pace pace_ GUARDED_BY(mutex_);
};

}  // namespace pensieve
