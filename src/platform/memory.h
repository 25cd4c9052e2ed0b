// What memory processes use and what the machine has left.
//
//   Units    bytes. PSS: each shared page counted in equal parts by those who
//            share it, so that a tree's sum counts every page once.
//   Errors   a figure that the system does not tell is nullopt.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pensieve {

struct ProcessMemory {
  std::uint64_t rss_bytes = 0;
  std::uint64_t pss_bytes = 0;
  std::uint64_t anonymous_bytes = 0;  // Of these: heap, KV cache, buffers.
  std::uint64_t file_bytes = 0;       // Of these: mapped files, such as weights; the system may take them back.
};

std::optional<ProcessMemory> process_memory(pid_t pid);

struct MachineMemory {
  std::uint64_t available_bytes = 0;  // What may still be taken: of the machine, or of the control group if that is less.
  std::uint64_t total_bytes = 0;      // Of the machine, or the group's limit.
  double pressure_percent = 0;        // Of the last 10 s, in which some task waited for memory (Linux: PSI).
  bool limited_by_group = false;
};

// Where MachineMemory comes from. Another one stands in for tests.
class MemoryMonitor {
 public:
  virtual ~MemoryMonitor() = default;
  virtual std::optional<MachineMemory> read() = 0;
};

std::unique_ptr<MemoryMonitor> system_memory_monitor();
std::optional<std::uint64_t> available_memory_bytes();

// Says at once that tasks have begun to wait for memory, between two looks at the
// figures: of the whole machine, and of the own control group where it has such a file.
// Linux: PSI triggers (without CAP_SYS_RESOURCE the kernel looks only every 2 s). macOS has a
// dispatch source of its own (DISPATCH_SOURCE_TYPE_MEMORYPRESSURE), which nobody has joined to
// this yet: there are no alarms there, and the gate goes by its figures.
struct PressureAlarm {
  int fd = -1;          // The caller's. An exceptional condition (POLLPRI) on it is the alarm.
  std::string source;   // The file that it was asked of.
  std::string trigger;  // What was asked for: kind, microseconds of waiting, of so many.
};
std::vector<PressureAlarm> open_pressure_alarms();

// Gives memory that was freed back to the system, where the allocator kept it.
void return_freed_memory();

}  // namespace pensieve
