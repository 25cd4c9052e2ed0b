// Reads pieces of a block each into its place, and checks them. Several threads share those of a large block: what a
// restored conversation waits for is the copying out of the page cache, and the summing.
//
//   Threads  one calls; those it starts end before it returns.
//   Blocks   until all were read.
//   Errors   those of BlockReader::read(), for the first piece that has one; all places hold anything then.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/block_file.h"

namespace pensieve {

inline constexpr std::uint64_t kPiecesWorthThreads = std::uint64_t{8} << 20;  // Bytes.

// The pieces from `first` on, one for each place, which is as long as its piece. `threads`: at most so many, the caller's among them.
Result<void> read_pieces(BlockReader& block, std::size_t first, std::span<const std::span<std::byte>> places, int threads);

}  // namespace pensieve
