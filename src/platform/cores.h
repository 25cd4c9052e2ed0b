// How many processors this process may use at once: those that it is bound to (taskset, the
// cpusets of containers), and no more than the quota of its control groups allows (cpu.max of version 2, rounded
// down). The machine's own number where nothing is told; at least 1.
//
//   Threads  any: each call reads anew.
#pragma once

#include "platform/control_groups.h"

namespace pensieve {

int usable_cores(const GroupFiles& files = {});

}  // namespace pensieve
