// Runs a program that reads what strangers wrote: bytes in, bytes out, within bounds
// of time, memory and output (platform/child_process.h says what else it may not).
//
//   Owns     the child: it is gone when the call returns.
//   Threads  any. On Linux the child dies with the calling thread.
//   Blocks   until the program ends, at most `wall_max`.
//   Errors   internal: it could not be started. How it ended is in the outcome.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "platform/child_process.h"

namespace pensieve {

struct BoundedRun {
  std::vector<std::string> argv;  // The first is a path.
  ChildLimits limits;
  std::chrono::milliseconds wall_max{20000};
  std::size_t output_bytes_max = 1 << 20;
};

struct RunOutcome {
  std::string ended;      // "exit code 0", "signal 9 (Killed)"; empty: it was ended for what follows.
  std::string out, err;   // Of err no more than 4 KiB.
  bool out_of_time = false;
  bool too_much = false;  // It wrote more than output_bytes_max; `out` has no more than that.
};

Result<RunOutcome> run_bounded(const BoundedRun& run, std::string_view input);

}  // namespace pensieve
