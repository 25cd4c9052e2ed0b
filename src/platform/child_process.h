// A child process with pipes on its stdin, stdout and stderr.
//
//   Owns     the three file descriptors until release_*(); the child itself until
//            it is reaped: the destructor kills and reaps it.
//   Threads  one. The child dies with the thread that spawned it where the system
//            can arrange that (Linux).
//   Errors   spawn() says which call failed; a program that cannot be executed
//            shows as a child that exits with 127.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace pensieve {

// What a child may have; the most for a program that reads what strangers wrote.
struct ChildLimits {
  std::uint64_t data_bytes = 0;   // Its own memory (RLIMIT_DATA; macOS does not enforce it). 0: no limit.
  std::uint64_t cpu_seconds = 0;  // 0: no limit.
  // It writes no files and no core, gains no rights, and sees neither our environment
  // (keys may stand in it) nor our descriptors.
  bool stranger = false;
  // Of the control group that it joins before it runs (WorkerGroup::members_file()); one that cannot be joined is told on
  // its stderr, and it runs all the same. Empty: none.
  std::string members_file = {};
};

class ChildProcess {
 public:
  // `argv[0]` is the program's path.
  static Result<ChildProcess> spawn(const std::vector<std::string>& argv, const ChildLimits& limits = {});

  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&& other) noexcept;
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  int release_stdin() { return std::exchange(in_, -1); }
  int release_stdout() { return std::exchange(out_, -1); }
  int release_stderr() { return std::exchange(err_, -1); }

  void send_signal(int signal) const;  // Nothing, once reaped.
  // How it ended, in words ("exit code 1", "signal 9 (Killed)"); nullopt while it runs.
  std::optional<std::string> reap();

 private:
  ChildProcess(pid_t pid, int in, int out, int err) : pid_(pid), in_(in), out_(out), err_(err) {}

  pid_t pid_ = -1;  // -1: reaped.
  int in_ = -1;
  int out_ = -1;
  int err_ = -1;
};

// Where `program` lies on PATH; empty: nowhere. Folders of PATH that are relative to the current one count for
// `relative_too` alone: for programs that the user names, not for those that we look for.
std::string find_on_path(std::string_view program, bool relative_too = false);

}  // namespace pensieve
