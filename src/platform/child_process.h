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

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace pensieve {

class ChildProcess {
 public:
  // `argv[0]` is the program's path.
  static Result<ChildProcess> spawn(const std::vector<std::string>& argv);

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

}  // namespace pensieve
