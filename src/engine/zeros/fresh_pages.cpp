#include "engine/zeros/fresh_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#include "platform/cores.h"

namespace pensieve {
namespace {

constexpr std::size_t kPart = std::size_t{16} << 20;  // Taken by a thread at a time.
constexpr int kThreadsMax = 8;                        // Beyond that the memory is the limit.

}  // namespace

bool zero_by_fresh_pages(std::span<std::byte> memory) {
#if defined(__linux__) && defined(MADV_POPULATE_WRITE)
  if (memory.size() < kFreshPagesMin) return false;
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::uintptr_t first = (begin + page - 1) / page * page;
  const std::uintptr_t last = (begin + memory.size()) / page * page;
  if (::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) return false;
  std::atomic<std::uintptr_t> next = first;
  std::atomic<bool> good = true;
  const auto take = [&] {
    for (std::uintptr_t at; good && (at = next.fetch_add(kPart)) < last;) {
      if (::madvise(reinterpret_cast<void*>(at), std::min(kPart, last - at), MADV_POPULATE_WRITE) != 0) good = false;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < std::min(usable_cores(), kThreadsMax); ++i) threads.emplace_back(take);
    take();
  }
  if (!good) return false;
  std::memset(memory.data(), 0, first - begin);
  std::memset(reinterpret_cast<void*>(last), 0, begin + memory.size() - last);
  return true;
#else
  (void)memory;
  return false;
#endif
}

}  // namespace pensieve
