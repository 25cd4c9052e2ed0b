#include "platform/worker_group.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/errno_text.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWorker = "pensieve-worker-";
constexpr std::string_view kServer = "pensieve-server-";

std::string line_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

bool has_word(const std::string& line, std::string_view word) {
  std::istringstream words(line);
  for (std::string one; words >> one;) {
    if (one == word) return true;
  }
  return false;
}

std::vector<pid_t> members_of(const std::string& folder) {
  std::ifstream file(folder + "/cgroup.procs");
  std::vector<pid_t> pids;
  for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
  return pids;
}

Result<void> put(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  if (!file) return Error{ErrorCode::permission_denied, fmt::format("'{}' does not take '{}': {}", path, text, errno_text())};
  return {};
}

Result<void> make_folder(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return Error{ErrorCode::permission_denied, fmt::format("'{}' cannot be made: {}", path, errno_text())};
  return {};
}

// Of servers that are gone. One that has members is not removed by the kernel, whoever asks.
void remove_leftovers(const std::string& place) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(place, ignored)) {
    const std::string name = entry.path().filename().string();
    for (const std::string_view ours : {kWorker, kServer}) {
      pid_t pid = 0;
      if (!name.starts_with(ours) || std::from_chars(name.data() + ours.size(), name.data() + name.size(), pid).ec != std::errc() || pid <= 0) continue;
      if (::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(entry.path().c_str());
    }
  }
}

// The group of this process, made fit to hold one with a limit.
Result<ControlGroup> own_place(const GroupFiles& files) {
  const std::vector<ControlGroup> groups = own_groups(files);
  const auto own = std::ranges::find_if(groups, [](const ControlGroup& group) { return group.version2; });
  if (own == groups.end()) return Error{ErrorCode::unavailable, "there is no cgroup v2"};
  const std::string& folder = own->folder;
  if (!has_word(line_of(folder + "/cgroup.controllers"), "memory")) return Error{ErrorCode::unavailable, fmt::format("'{}' has no memory controller (it is not delegated, or version 1 has it)", folder)};
  if (::access(folder.c_str(), W_OK) != 0 || ::access((folder + "/cgroup.subtree_control").c_str(), W_OK) != 0) {
    return Error{ErrorCode::permission_denied, fmt::format("'{}' is not writable for this user", folder)};
  }
  remove_leftovers(folder);
  if (has_word(line_of(folder + "/cgroup.subtree_control"), "memory")) return *own;
  for (const pid_t pid : members_of(folder)) {
    if (pid != ::getpid()) return Error{ErrorCode::unavailable, fmt::format("other processes (such as {}) are in '{}', too", pid, folder)};
  }
  const std::string leaf = fmt::format("{}/{}{}", folder, kServer, ::getpid());
  if (Result<void> made = make_folder(leaf); !made) return std::move(made).error();
  if (Result<void> moved = put(leaf + "/cgroup.procs", "0"); !moved) return std::move(moved).error();
  if (Result<void> enabled = put(folder + "/cgroup.subtree_control", "+memory"); !enabled) return std::move(enabled).error();
  return *own;
}

// A folder that somebody made for us, of either version.
Result<ControlGroup> named_place(const std::string& place) {
  std::error_code ignored;
  if (!fs::is_directory(place, ignored)) return Error{ErrorCode::not_found, fmt::format("'{}' is no folder", place)};
  remove_leftovers(place);
  const ControlGroup group{place, !fs::exists(place + "/memory.limit_in_bytes", ignored)};
  if (group.version2 && !has_word(line_of(place + "/cgroup.subtree_control"), "memory")) {
    if (Result<void> enabled = put(place + "/cgroup.subtree_control", "+memory"); !enabled) return std::move(enabled).error();
  }
  return group;
}

}  // namespace

Result<std::unique_ptr<WorkerGroup>> WorkerGroup::make(const std::string& place, std::uint64_t bytes_max, const GroupFiles& files) {
  auto outer = place.empty() ? own_place(files) : named_place(place);
  if (!outer) return std::move(outer).error();
  ControlGroup group{fmt::format("{}/{}{}", outer->folder, kWorker, ::getpid()), outer->version2};
  if (Result<void> made = make_folder(group.folder); !made) return std::move(made).error();
  std::unique_ptr<WorkerGroup> worker(new WorkerGroup(group, bytes_max));  // From here on its end removes the folder.
  if (Result<void> limited = put(group.limit_file(), std::to_string(bytes_max)); !limited) return std::move(limited).error();
  // All of it or nothing, and nothing of it in swap: a limit that pages go around is none. Neither file need be there.
  if (group.version2) {
    (void)put(group.folder + "/memory.oom.group", "1");
    (void)put(group.folder + "/memory.swap.max", "0");
  }
  return worker;
}

bool WorkerGroup::holds(pid_t pid) const {
  const std::vector<pid_t> pids = members_of(group_.folder);
  return std::ranges::find(pids, pid) != pids.end();
}

std::uint64_t WorkerGroup::kills() const {
  std::ifstream file(group_.folder + (group_.version2 ? "/memory.events" : "/memory.oom_control"));
  std::string name;
  for (std::uint64_t count = 0; file >> name >> count;) {
    if (name == "oom_kill") return count;
  }
  return 0;
}

void WorkerGroup::remove() { ::rmdir(group_.folder.c_str()); }

}  // namespace pensieve
