// The worker's end of the wire: lines in from one file descriptor, reports out
// to another.
//
//   Threads  send() from any; read_line() from the wire thread.
//   Blocks   send() until the peer has read; a peer that is gone ends the process
//            quietly, for nobody is left to answer to.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "wire/frames.h"

namespace pensieve {

class WirePort {
 public:
  WirePort(int in_fd, int out_fd) : in_fd_(in_fd), out_fd_(out_fd) {}

  void send(const wire::Report& report);
  // The last line before the process ends, newline included: allocates nothing, and waits
  // only a moment for a line that is being written.
  void send_last(std::string_view line);
  // The next line without its newline; nullopt at the end of input. A line longer
  // than wire::kLineBytesMax ends the input: the peer is broken.
  std::optional<std::string> read_line();

 private:
  const int in_fd_;
  const int out_fd_;
  Mutex out_mutex_;
  std::string read_;
  std::size_t scanned_ = 0;  // Bytes of read_ known to hold no newline.
};

}  // namespace pensieve
