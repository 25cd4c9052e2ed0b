#include "documents/bounded_run.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "base/clock.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t kErrorBytesMax = 4096;
constexpr auto kTick = 100ms;

struct Descriptor {
  explicit Descriptor(int of) : fd(of) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  int fd;
};

bool try_again() { return errno == EAGAIN || errno == EINTR; }

// What is there now. False: the other end is closed.
bool read_some(int fd, std::string& into) {
  std::array<char, 65536> buffer;
  const ssize_t count = ::read(fd, buffer.data(), buffer.size());
  if (count > 0) into.append(buffer.data(), static_cast<std::size_t>(count));
  return count > 0 || (count < 0 && try_again());
}

}  // namespace

Result<RunOutcome> run_bounded(const BoundedRun& run, std::string_view input) {
  const TimePoint deadline = SteadyClock::now() + run.wall_max;
  auto child = ChildProcess::spawn(run.argv, run.limits);
  if (!child) return std::move(child).error();
  Descriptor in(child->release_stdin()), out(child->release_stdout()), err(child->release_stderr());
  RunOutcome outcome;
  if (input.empty()) in.close();
  while (out.fd >= 0 || err.fd >= 0) {
    if (SteadyClock::now() >= deadline) {
      outcome.out_of_time = true;
      return outcome;
    }
    std::array<pollfd, 3> ends{pollfd{in.fd, POLLOUT, 0}, pollfd{out.fd, POLLIN, 0}, pollfd{err.fd, POLLIN, 0}};
    if (::poll(ends.data(), ends.size(), static_cast<int>(kTick.count())) <= 0) continue;
    if (ends[0].revents != 0) {
      const ssize_t count = ::write(in.fd, input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<std::size_t>(count));
      if (input.empty() || (count < 0 && !try_again())) in.close();
    }
    if (ends[1].revents != 0 && !read_some(out.fd, outcome.out)) out.close();
    if (ends[2].revents != 0) {
      if (!read_some(err.fd, outcome.err)) err.close();
      outcome.err.resize(std::min(outcome.err.size(), kErrorBytesMax));
    }
    if (outcome.out.size() > run.output_bytes_max) {
      outcome.out.resize(run.output_bytes_max);
      outcome.too_much = true;
      return outcome;
    }
  }
  while (true) {
    if (const auto ended = child->reap()) {
      outcome.ended = *ended;
      return outcome;
    }
    if (SteadyClock::now() >= deadline) break;
    std::this_thread::sleep_for(1ms);
  }
  outcome.out_of_time = true;
  return outcome;
}

}  // namespace pensieve
