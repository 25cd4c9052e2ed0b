// Linux: /proc/PID/smaps_rollup, /proc/meminfo, /proc/pressure and control groups
// (both versions). Other systems: not known yet.
#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "platform/control_groups.h"
#include "platform/memory.h"

namespace pensieve {
namespace {

// "Name: 123 kB" lines, in bytes.
std::map<std::string, std::uint64_t> read_kib(const std::string& path) {
  std::ifstream file(path);
  std::map<std::string, std::uint64_t> values;
  for (std::string line; std::getline(file, line);) {
    std::istringstream fields(line);
    std::string name;
    std::uint64_t kib = 0;
    if (fields >> name >> kib) values[name] = kib << 10;
  }
  return values;
}

std::optional<std::uint64_t> number_in(const std::string& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  return file >> number ? std::optional(number) : std::nullopt;
}

// The named lines of a memory.stat.
std::uint64_t stat_of(const std::string& path, const std::vector<std::string>& names) {
  std::ifstream file(path);
  std::uint64_t sum = 0, value = 0;
  for (std::string name; file >> name >> value;) {
    if (std::ranges::find(names, name) != names.end()) sum += value;
  }
  return sum;
}

double pressure() {
  std::ifstream file("/proc/pressure/memory");
  std::string some, average;
  if (!(file >> some >> average) || !average.starts_with("avg10=")) return 0;
  return std::strtod(average.c_str() + 6, nullptr);
}

// Usage counts without the pages of files, which the system takes back when it must.
std::uint64_t used_by(const ControlGroup& group) {
  const std::uint64_t usage = number_in(group.usage_file()).value_or(0);
  const std::uint64_t files = stat_of(group.folder + "/memory.stat", group.version2 ? std::vector<std::string>{"inactive_file", "active_file"}
                                                                                    : std::vector<std::string>{"total_inactive_file", "total_active_file"});
  return usage > files ? usage - files : 0;
}

class LinuxMonitor final : public MemoryMonitor {
 public:
  std::optional<MachineMemory> read() override {
    const auto machine = read_kib("/proc/meminfo");
    const auto available = machine.find("MemAvailable:");
    if (available == machine.end()) return std::nullopt;
    MachineMemory memory;
    memory.available_bytes = available->second;
    if (const auto total = machine.find("MemTotal:"); total != machine.end()) memory.total_bytes = total->second;
    memory.pressure_percent = pressure();
    for (const ControlGroup& group : own_groups()) {
      const auto limit = number_in(group.limit_file());
      if (!limit || *limit >= memory.total_bytes) continue;
      const std::uint64_t used = used_by(group);
      const std::uint64_t left = *limit > used ? *limit - used : 0;
      memory.total_bytes = *limit;
      if (left >= memory.available_bytes) continue;
      memory.available_bytes = left;
      memory.limited_by_group = true;
    }
    return memory;
  }
};

}  // namespace

std::optional<ProcessMemory> process_memory(pid_t pid) {
  const auto values = read_kib(fmt::format("/proc/{}/smaps_rollup", pid));
  if (!values.contains("Pss:")) return std::nullopt;
  const auto value = [&](const char* name) { return values.contains(name) ? values.at(name) : 0; };
  return ProcessMemory{value("Rss:"), value("Pss:"), value("Pss_Anon:"), value("Pss_File:")};
}

std::unique_ptr<MemoryMonitor> system_memory_monitor() { return std::make_unique<LinuxMonitor>(); }

std::optional<std::uint64_t> available_memory_bytes() {
  const auto memory = LinuxMonitor().read();
  return memory ? std::optional(memory->available_bytes) : std::nullopt;
}

void return_freed_memory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace pensieve
