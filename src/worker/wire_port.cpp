#include "worker/wire_port.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "base/log.h"

namespace pensieve {

void WirePort::send(const wire::Report& report) {
  const std::string line = wire::encode(report);
  const MutexLock lock(out_mutex_);
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t count = ::write(out_fd_, line.data() + sent, line.size() - sent);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno != EINTR) {
      log::info("the other end of the wire is gone ({}); ending", std::generic_category().message(errno));
      std::_Exit(0);
    }
  }
}

// Without the lock in the end, too: a torn line is less than a word that was never said.
void WirePort::send_last(std::string_view line) PENSIEVE_THREAD_ANNOTATION(no_thread_safety_analysis) {
  bool locked = false;
  for (int tick = 0; tick < 500 && !(locked = out_mutex_.try_lock()); ++tick) ::usleep(1000);
  while (!line.empty()) {
    const ssize_t count = ::write(out_fd_, line.data(), line.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    line.remove_prefix(static_cast<std::size_t>(count));
  }
  if (locked) out_mutex_.unlock();
}

std::optional<std::string> WirePort::read_line() {
  while (true) {
    const std::size_t newline = read_.find('\n', scanned_);
    if (newline != std::string::npos) {
      std::string line = read_.substr(0, newline);
      read_.erase(0, newline + 1);
      scanned_ = 0;
      return line;
    }
    scanned_ = read_.size();
    if (read_.size() > wire::kLineBytesMax) {
      log::error("a line of more than {} bytes on the wire; reading no further", wire::kLineBytesMax);
      return std::nullopt;
    }
    char buffer[65536];
    const ssize_t count = ::read(in_fd_, buffer, sizeof buffer);
    if (count > 0) read_.append(buffer, static_cast<std::size_t>(count));
    else if (count == 0 || errno != EINTR) return std::nullopt;
  }
}

}  // namespace pensieve
