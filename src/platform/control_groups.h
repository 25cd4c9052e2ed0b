// Where this process stands among the system's control groups, and where their
// files lie. Both versions of the kernel's interface, also mixed.
//
//   Threads  any: each call reads anew.
//   Errors   where there are none (another system, nothing mounted): an empty list.
#pragma once

#include <string>
#include <vector>

namespace pensieve {

struct ControlGroup {
  std::string folder;
  bool version2 = false;

  std::string limit_file() const { return folder + (version2 ? "/memory.max" : "/memory.limit_in_bytes"); }
  std::string usage_file() const { return folder + (version2 ? "/memory.current" : "/memory.usage_in_bytes"); }
};

// What the system says of itself. Tests build their own.
struct GroupFiles {
  std::string groups = "/proc/self/cgroup";
  std::string mounts = "/proc/self/mounts";
};

// The groups that count this process's memory: its own, then those around it, in each version.
std::vector<ControlGroup> own_groups(const GroupFiles& files = {});

}  // namespace pensieve
