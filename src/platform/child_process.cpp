#include "platform/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/errno_text.h"

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

namespace pensieve {
namespace {

struct Pipe {
  std::array<int, 2> ends{-1, -1};
  ~Pipe() {
    for (const int fd : ends) {
      if (fd >= 0) ::close(fd);
    }
  }
  bool open() {
    if (::pipe(ends.data()) != 0) return false;
    for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    return true;
  }
  int take(std::size_t end) { return std::exchange(ends[end], -1); }
};

// Between fork and exec: system calls only.
void limit(int what, std::uint64_t value) {
  const rlimit bound{value, value};
  ::setrlimit(what, &bound);
}

void apply(const ChildLimits& limits) {
  if (limits.data_bytes > 0) limit(RLIMIT_DATA, limits.data_bytes);
  if (limits.cpu_seconds > 0) limit(RLIMIT_CPU, limits.cpu_seconds);
  if (!limits.stranger) return;
  limit(RLIMIT_FSIZE, 0);
  ::signal(SIGXFSZ, SIG_IGN);  // A write that fails is no end: what would keep a cache (fontconfig) goes on without.
  limit(RLIMIT_CORE, 0);
#ifdef __linux__
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, 3u, ~0u, 0u) == 0) return;
#endif
#endif
  for (int fd = 3; fd < 4096; ++fd) ::close(fd);
}

}  // namespace

Result<ChildProcess> ChildProcess::spawn(const std::vector<std::string>& argv, const ChildLimits& limits) {
  Pipe in, out, err;
  if (!in.open() || !out.open() || !err.open()) return Error{ErrorCode::internal, fmt::format("pipe: {}", errno_text())};
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  char locale[] = "LC_ALL=C.UTF-8";
  char* const bare[] = {locale, nullptr};
  const int group = limits.members_file.empty() ? -1 : ::open(limits.members_file.c_str(), O_WRONLY | O_CLOEXEC);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid != 0 && group >= 0) ::close(group);
  if (pid < 0) return Error{ErrorCode::internal, fmt::format("fork: {}", errno_text())};
  if (pid == 0) {
    // Only async-signal-safe calls from here to exec.
    ::setpgid(0, 0);  // Ctrl-C in the terminal is the parent's to handle.
#ifdef __linux__
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
#else
    (void)parent;
#endif
    ::dup2(in.ends[0], STDIN_FILENO);
    ::dup2(out.ends[1], STDOUT_FILENO);
    ::dup2(err.ends[1], STDERR_FILENO);
    if (!limits.members_file.empty() && ::write(group, "0", 1) != 1) {
      constexpr std::string_view kAlone = "this process did not get into its control group\n";
      (void)!::write(STDERR_FILENO, kAlone.data(), kAlone.size());
    }
    apply(limits);
    if (limits.stranger) ::execve(arguments[0], arguments.data(), bare);
    else ::execv(arguments[0], arguments.data());
#ifdef __GLIBC__
    const char* why = ::strerrordesc_np(errno);  // Takes no lock and allocates nothing, unlike strerror.
#else
    const char* why = "the program cannot be run";
#endif
    (void)!::write(STDERR_FILENO, why, std::strlen(why));
    ::_exit(127);
  }
  return ChildProcess(pid, in.take(1), out.take(0), err.take(0));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept { *this = std::move(other); }

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(in_, other.in_);
  std::swap(out_, other.out_);
  std::swap(err_, other.err_);
  return *this;
}

ChildProcess::~ChildProcess() {
  for (const int fd : {in_, out_, err_}) {
    if (fd >= 0) ::close(fd);
  }
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void ChildProcess::send_signal(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

std::optional<std::string> ChildProcess::reap() {
  if (pid_ < 0) return "reaped before";
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  if (WIFSIGNALED(status)) return fmt::format("signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

std::string find_on_path(std::string_view program, bool relative_too) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? std::string_view() : path;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    const std::string folder(end == 0 ? "." : rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (!folder.starts_with('/') && !relative_too) continue;
    const std::string candidate = fmt::format("{}/{}", folder, program);
    struct stat status {};
    if (::access(candidate.c_str(), X_OK) == 0 && ::stat(candidate.c_str(), &status) == 0 && !S_ISDIR(status.st_mode)) return candidate;
  }
  return {};
}

}  // namespace pensieve
