#include "platform/limits.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>

#include "base/errno_text.h"

namespace pensieve {

Result<void> cap_own_data(std::uint64_t bytes) {
  const rlimit limit{bytes, bytes};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) return Error{ErrorCode::permission_denied, fmt::format("RLIMIT_DATA: {}", errno_text())};
  return {};
}

void leave_no_core() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_CORE, &limit) != 0) return;
  limit.rlim_cur = 0;
  (void)::setrlimit(RLIMIT_CORE, &limit);
}

void make_first_victim() {
  // Unprivileged processes may raise their score. Where the file is not there: another system.
  std::ofstream file("/proc/self/oom_score_adj");
  file << 1000;
}

}  // namespace pensieve
