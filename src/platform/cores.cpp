#include "platform/cores.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

namespace pensieve {
namespace {

// std::thread::hardware_concurrency() counts the machine's with some C libraries, the engine's own among them.
int bound_to() {
#ifdef __linux__
  for (int most = 1024; most <= 1 << 20; most *= 4) {  // The kernel's set may be larger than the one that is asked for.
    cpu_set_t* const set = CPU_ALLOC(static_cast<std::size_t>(most));
    const std::size_t bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(most));
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

int usable_cores(const GroupFiles& files) {
  int cores = std::max(1, bound_to());
  for (const ControlGroup& group : own_groups(files)) {
    if (!group.version2) continue;
    std::ifstream file(group.folder + "/cpu.max");  // "200000 100000": so many µs in each such time; or "max 100000".
    double quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0) cores = std::clamp(static_cast<int>(quota / period), 1, cores);
  }
  return cores;
}

int compute_threads(const GroupFiles& files) {
  const int cores = usable_cores(files);
  return cores >= 8 ? cores - 1 : cores;
}

}  // namespace pensieve
