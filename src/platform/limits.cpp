#include "platform/limits.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace pensieve {

Result<void> cap_own_data(std::uint64_t bytes) {
  const rlimit limit{bytes, bytes};
  if (::setrlimit(RLIMIT_DATA, &limit) != 0) return Error{ErrorCode::permission_denied, fmt::format("RLIMIT_DATA: {}", std::strerror(errno))};
  return {};
}

void make_first_victim() {
  // Unprivileged processes may raise their score. Where the file is not there: another system.
  std::ofstream file("/proc/self/oom_score_adj");
  file << 1000;
}

std::string delegated_cgroup(std::string* why) {
  std::ifstream groups("/proc/self/cgroup");
  std::string path;
  for (std::string line; std::getline(groups, line);) {
    if (line.starts_with("0::")) path = line.substr(3);
  }
  if (path.empty()) {
    *why = "there is no cgroup v2";
    return {};
  }
  const std::string folder = "/sys/fs/cgroup" + path;
  std::ifstream enabled(folder + "/cgroup.subtree_control");
  std::string controllers;
  std::getline(enabled, controllers);
  if (controllers.find("memory") == std::string::npos) {
    *why = fmt::format("the memory controller is not delegated to {}", folder);
    return {};
  }
  if (::access((folder + "/cgroup.procs").c_str(), W_OK) != 0) {
    *why = fmt::format("{} is not writable", folder);
    return {};
  }
  return folder;
}

}  // namespace pensieve
