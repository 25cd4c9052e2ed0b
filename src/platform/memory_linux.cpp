// Linux: /proc/PID/smaps_rollup and /proc/meminfo. Other systems: not known yet.
#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>

#include "platform/memory.h"

namespace pensieve {

std::optional<ProcessMemory> process_memory(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/smaps_rollup", pid));
  ProcessMemory memory;
  bool found = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    std::uint64_t kib = 0;
    if (!(fields >> name >> kib)) continue;
    if (name == "Pss:") {
      memory.pss_bytes = kib << 10;
      found = true;
    } else if (name == "Pss_Anon:") {
      memory.anonymous_bytes = kib << 10;
    } else if (name == "Pss_File:") {
      memory.file_bytes = kib << 10;
    }
  }
  return found ? std::optional(memory) : std::nullopt;
}

std::optional<std::uint64_t> available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    std::uint64_t kib = 0;
    if (fields >> name >> kib && name == "MemAvailable:") return kib << 10;
  }
  return std::nullopt;
}

}  // namespace pensieve
