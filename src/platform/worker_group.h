// A control group of the worker's own, with a limit of memory that the kernel keeps:
// what RLIMIT_DATA does not count (pages of files, the kernel's own) counts here, and what
// is over the limit dies there, alone.
//
// Version 2, where the group of this process has the memory controller and may be
// written to (systemd: Delegate=yes; a container with its own writable groups). The kernel wants
// processes only in leaves, so this process moves into a group beside the worker's
// first, if it is alone in its own:
//
//   OWN/                       cgroup.subtree_control: +memory
//     pensieve-server-PID/     this process; not made where OWN gives out memory already
//     pensieve-worker-PID/     memory.max, memory.oom.group; each worker in turn
//
// In a folder that an administrator names (nobody in it), version 1's files are taken as well.
//
//   Owns     the folders: remove() takes away what is empty. Those that a killed server
//            left behind go when the next one makes its own.
//   Threads  one.
//   Errors   permission_denied or unavailable, saying what was looked for and where.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "platform/control_groups.h"

namespace pensieve {

class WorkerGroup {
 public:
  // `place`: the folder to make it in; empty: below the group of this process, in version 2.
  static Result<std::unique_ptr<WorkerGroup>> make(const std::string& place, std::uint64_t bytes_max, const GroupFiles& files = {});
  ~WorkerGroup() { remove(); }
  WorkerGroup(const WorkerGroup&) = delete;
  WorkerGroup& operator=(const WorkerGroup&) = delete;

  const std::string& folder() const { return group_.folder; }
  std::uint64_t bytes_max() const { return bytes_max_; }
  // Whoever writes "0" into it is a member, and so are its children.
  std::string members_file() const { return group_.folder + "/cgroup.procs"; }
  bool holds(pid_t pid) const;
  std::uint64_t kills() const;  // Times that the kernel ended a member at the limit.
  void remove();

 private:
  WorkerGroup(ControlGroup group, std::uint64_t bytes_max) : group_(std::move(group)), bytes_max_(bytes_max) {}

  ControlGroup group_;
  std::uint64_t bytes_max_;
};

}  // namespace pensieve
