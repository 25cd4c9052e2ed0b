// Sets memory to zero by taking fresh pages from the system, with all usable cores at once: what lay there is given
// back, and each core makes its part present again (docs/decisions/0015). All of it is there when it returns, as after
// memset().
//
//   Takes    memory that is this process' alone, of no file.
//   Threads  any; nobody else may use the memory meanwhile.
//   Blocks   about half a second for each GB on one core, as memset() does; less by the number of cores.
//   Errors   false: it could not be done (little memory, an older system); what lay there is there or zero, and the caller
//            sets it.
#pragma once

#include <cstddef>
#include <span>

namespace pensieve {

inline constexpr std::size_t kFreshPagesMin = std::size_t{64} << 20;  // Below that memset() is as good.

bool zero_by_fresh_pages(std::span<std::byte> memory);

}  // namespace pensieve
