// Threads that compute one job together and meet at barriers, as OpenMP's do, with
// a patience of their own (patience.h). Made for jobs of milliseconds with hundreds
// of barriers.
//
//   Owns     its threads. They start with the first job that needs them, sleep between
//            jobs, and end with the team.
//   Threads  run() from one thread at a time, which takes part as number 0; a job may not
//            call it. barrier(), first(), number() and size() inside a job, from all of its threads.
//   Blocks   run() until every thread is through with the job.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "engine/threads/patience.h"
#include "engine/threads/wait_word.h"

namespace pensieve {

class Team {
 public:
  using Job = void (*)(void*);

  Team();
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  // Runs job(data) on `size` threads, at least 1.
  void run(Job job, void* data, int size);

  // Returns when all threads of the job have called it.
  void barrier();

  // True in exactly one thread for each time that all of them call it.
  bool first();

  // Of the calling thread: its place in the job, and how many there are. Outside of any job 0 and 1.
  static int number();
  static int size();

 private:
  struct Member {
    WaitWord called;  // Raised with each job for this thread.
    std::thread thread;
  };

  void serve(Member& member, int number);
  void await(WaitWord& word, std::int32_t old, bool at_barrier);
  void take_part(int number);

  std::vector<std::unique_ptr<Member>> members_;  // Numbers 1, 2, ...
  Job job_ = nullptr;                             // Written before `called`.
  void* data_ = nullptr;
  int size_ = 1;
  Patience patience_;
  int cores_;
  std::atomic<std::int64_t> cores_taken_before_{0};  // Up to the beginning of the job before this one.
  std::int64_t cores_taken_ = 0;                     // Up to the beginning of this one.
  bool ending_ = false;
  alignas(64) std::atomic<std::int32_t> arrived_{0};
  alignas(64) WaitWord passed_;  // Raised with each barrier that all have reached.
  alignas(64) std::atomic<std::int32_t> firsts_{0};
};

}  // namespace pensieve
