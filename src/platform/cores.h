// How many processors this process may use at once: those that it is bound to (taskset, the
// cpusets of containers), and no more than the quota of its control groups allows (cpu.max of version 2, rounded
// down). The machine's own number where nothing is told; at least 1.
//
//   Threads  any: each call reads anew.
//   Units    processors, at least 1.
#pragma once

#include "platform/control_groups.h"

namespace pensieve {

int usable_cores(const GroupFiles& files = {});

// How many threads are to compute: one for each usable core, but from 8 on one core is left to the server, its
// clients and whatever else looks at each token. A thread that loses its core keeps all the others waiting:
// with 16 threads on 16 cores one stream was decoded at 0.7 to 1.2 of llama-server's pace, with 15 at 1.2 to 1.25.
int compute_threads(const GroupFiles& files = {});

}  // namespace pensieve
