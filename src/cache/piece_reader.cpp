#include "cache/piece_reader.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace pensieve {

Result<void> read_pieces(BlockReader& block, std::size_t first, std::span<const std::span<std::byte>> places, int threads) {
  std::uint64_t bytes = 0;
  for (const auto place : places) bytes += place.size();
  if (bytes < kPiecesWorthThreads) threads = 1;

  std::atomic<std::size_t> next = 0;
  Mutex mutex;
  std::size_t bad = places.size();  // The first that has an error,
  Result<void> outcome;             // and that.
  const auto take = [&] {
    for (std::size_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < places.size();) {
      Result<void> read = block.read(first + i, places[i]);
      if (read) continue;
      next = places.size();  // All before it are read, or being read.
      const MutexLock lock(mutex);
      if (i < bad) {
        bad = i;
        outcome = std::move(read);
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (int i = 1; i < std::min(threads, static_cast<int>(places.size())); ++i) helpers.emplace_back(take);
    take();
  }
  return outcome;
}

}  // namespace pensieve
