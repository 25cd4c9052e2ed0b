// What a process may take, and who goes first when the machine has nothing left.
//
//   Threads  any; the limits are the whole process's.
//   Errors   the system's own words.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace pensieve {

// Private writable memory of this process (heap, buffers, thread stacks; not mapped
// weights): an allocation beyond fails. Linux: RLIMIT_DATA; macOS does not enforce it.
Result<void> cap_own_data(std::uint64_t bytes);

// When this process crashes no core file is written: it would hold what people wrote, and a large process takes seconds to
// write, in which no other can take its place. The hard limit stays: `prlimit --core=unlimited --pid` brings it back.
void leave_no_core();

// This process is the one to kill when the machine runs out of memory. Linux: oom_score_adj.
void make_first_victim();

}  // namespace pensieve
