#include "platform/control_groups.h"

#include <fstream>
#include <sstream>

namespace pensieve {
namespace {

struct Roots {
  std::string version2;
  std::string memory;  // Version 1: the hierarchy of the memory controller.
};

Roots roots_of(const std::string& mounts) {
  Roots roots;
  std::ifstream file(mounts);
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string device, folder, type, options;
    if (!(fields >> device >> folder >> type >> options)) continue;
    if (type == "cgroup2") roots.version2 = folder;
    if (type == "cgroup" && ("," + options + ",").find(",memory,") != std::string::npos) roots.memory = folder;
  }
  return roots;
}

}  // namespace

std::vector<ControlGroup> own_groups(const GroupFiles& files) {
  const Roots roots = roots_of(files.mounts);
  std::vector<ControlGroup> groups;
  std::ifstream file(files.groups);
  for (std::string line; std::getline(file, line);) {
    const bool version2 = line.starts_with("0::");
    const std::size_t memory = line.find(":memory:");
    if (!version2 && memory == std::string::npos) continue;
    const std::string& root = version2 ? roots.version2 : roots.memory;
    if (root.empty()) continue;
    for (std::string path = version2 ? line.substr(3) : line.substr(memory + 8);; path.resize(path.rfind('/'))) {
      groups.push_back({root + (path == "/" ? "" : path), version2});
      if (path.empty() || path == "/") break;
    }
  }
  return groups;
}

}  // namespace pensieve
