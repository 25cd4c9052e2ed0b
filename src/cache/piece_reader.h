// Reads the pieces of a block from first to last, some of them ahead: threads read and check them while the caller
// puts those before into the engine. Blocks so small that this gains nothing are read as they are asked for.
//
//   Owns     its threads, and buffers for as many pieces as it is ahead; until it goes, the reader is its alone.
//   Threads  one calls; it ends its own before it goes.
//   Blocks   next() until the piece was read.
//   Errors   those of BlockReader::read(). After one nothing more is asked for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "cache/block_file.h"

namespace pensieve {

class PieceReader {
 public:
  static constexpr std::uint64_t kWorthThreads = std::uint64_t{8} << 20;  // Bytes of a block.
  static constexpr std::size_t kAheadShare = 8;  // At most so large a part of a block lies in buffers (budget/budget.cpp counts it).

  // `threads`: at most so many; 0: none.
  PieceReader(BlockReader& block, int threads);
  ~PieceReader();
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;

  // The next piece. Its bytes are there until the call after.
  Result<std::span<const std::byte>> next();

 private:
  struct Buffer {
    std::vector<std::byte> bytes;
    std::size_t piece = kNone;  // It holds this one,
    Result<void> read;          // or this is why not.
  };
  static constexpr std::size_t kNone = ~std::size_t{0};

  void read_ahead();
  Result<void> read_into(Buffer& buffer, std::size_t piece);

  BlockReader& block_;
  const std::size_t pieces_;
  std::mutex mutex_;  // Not base/mutex.h: condition variables wait on it.
  std::condition_variable taken_;
  std::condition_variable arrived_;
  std::size_t asked_for_ = 0;  // Guarded, as those below: pieces before this one were handed out.
  std::size_t begun_ = 0;      // Those before this one are read, or being read.
  bool ending_ = false;
  std::vector<Buffer> buffers_;  // Piece i lies in buffer i % size.
  std::vector<std::jthread> threads_;
};

}  // namespace pensieve
