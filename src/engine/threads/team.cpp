#include "engine/threads/team.h"

#include <sys/resource.h>

#include <algorithm>

#include "base/check.h"
#include "platform/cores.h"

namespace pensieve {
namespace {

thread_local int own_number = 0;
thread_local int own_size = 1;
thread_local std::int32_t own_firsts = 0;

// Tells the processor that this is a spin: the thread beside it on the same core gets more, and less power is used.
void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// How often the system gave the core of one of this process's threads to somebody else.
std::int64_t cores_taken() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

constexpr int kTurnsBetweenLooks = 16;  // At the clock, which costs about as much as they do.

}  // namespace

Team::Team() : cores_(usable_cores()) {}

Team::~Team() {
  ending_ = true;
  for (const auto& member : members_) member->called.raise();
  for (const auto& member : members_) member->thread.join();
}

void Team::run(Job job, void* data, int size) {
  CHECK(own_size == 1, "a job does not start another");
  while (static_cast<int>(members_.size()) < size - 1) {
    members_.push_back(std::make_unique<Member>());
    Member& member = *members_.back();
    const int number = static_cast<int>(members_.size());
    member.thread = std::thread([this, &member, number] { serve(member, number); });
  }
  // A thread may have lost its core before this job, and not have it back yet.
  cores_taken_before_.store(cores_taken_, std::memory_order_relaxed);
  cores_taken_ = cores_taken();
  job_ = job;
  data_ = data;
  size_ = size;
  firsts_.store(0, std::memory_order_relaxed);
  for (int i = 0; i < size - 1; ++i) members_[static_cast<std::size_t>(i)]->called.raise();
  take_part(0);
}

void Team::serve(Member& member, int number) {
  for (std::int32_t seen = 0;; ++seen) {
    await(member.called, seen, false);
    if (ending_) return;
    take_part(number);
  }
}

void Team::take_part(int number) {
  own_number = number;
  own_size = size_;
  own_firsts = 0;
  job_(data_);
  barrier();  // Nobody leaves while another may still use what the job stands on.
  own_number = 0;
  own_size = 1;
}

void Team::barrier() {
  if (own_size == 1) return;
  const std::int32_t before = passed_.value();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 < own_size) return await(passed_, before, true);
  arrived_.store(0, std::memory_order_relaxed);
  passed_.raise();
}

bool Team::first() {
  std::int32_t turn = own_firsts++;
  return firsts_.compare_exchange_strong(turn, turn + 1, std::memory_order_relaxed);
}

int Team::number() { return own_number; }
int Team::size() { return own_size; }

// Until `word` is no longer `old`.
void Team::await(WaitWord& word, std::int32_t old, bool at_barrier) {
  const Patience::Time begun = std::chrono::steady_clock::now();
  const bool brief = own_size > cores_ || patience_.brief(begun);
  Patience::Time give_up = begun + (brief ? Patience::kBrief : Patience::kLong);
  for (Patience::Time now = begun;; now = std::chrono::steady_clock::now()) {
    if (now >= give_up) {
      // Between two jobs it is no sign of anything that nothing comes.
      if (brief || !at_barrier || now - begun >= Patience::kHiccup) break;
      if (cores_taken() != cores_taken_before_.load(std::memory_order_relaxed)) {
        patience_.in_vain(begun, now);
        break;
      }
      give_up = now + Patience::kLong;
    }
    for (int turn = 0; turn < kTurnsBetweenLooks; ++turn) {
      if (word.value() != old) return;
      relax();
    }
  }
  word.sleep_while(old);
}

}  // namespace pensieve
