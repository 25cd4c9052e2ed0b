#include "cache/piece_reader.h"

#include <algorithm>

#include "base/check.h"

namespace pensieve {

PieceReader::PieceReader(BlockReader& block, int threads) : block_(block), pieces_(block.head().piece_bytes.size()) {
  std::uint64_t bytes = 0;
  for (const std::uint64_t piece : block.head().piece_bytes) bytes += piece;
  // Buffers for 2 * threads + 1 pieces, which are of one size or nearly so.
  threads = bytes < kWorthThreads ? 0 : std::min(threads, (static_cast<int>(pieces_ / kAheadShare) - 1) / 2);
  // Each thread has one piece in hand and one that is ready; one is with the caller.
  buffers_.resize(static_cast<std::size_t>(2 * std::max(0, threads) + 1));
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { read_ahead(); });
}

PieceReader::~PieceReader() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  taken_.notify_all();
}

Result<void> PieceReader::read_into(Buffer& buffer, std::size_t piece) {
  buffer.bytes.resize(block_.head().piece_bytes[piece]);
  return block_.read(piece, buffer.bytes);
}

void PieceReader::read_ahead() {
  std::unique_lock lock(mutex_);
  while (true) {
    // The piece handed out last keeps its buffer.
    taken_.wait(lock, [this] { return ending_ || begun_ == pieces_ || begun_ + 1 < asked_for_ + buffers_.size(); });
    if (ending_ || begun_ == pieces_) return;
    const std::size_t piece = begun_++;
    Buffer& buffer = buffers_[piece % buffers_.size()];
    lock.unlock();
    Result<void> read = read_into(buffer, piece);
    lock.lock();
    buffer.read = std::move(read);
    buffer.piece = piece;
    arrived_.notify_one();
  }
}

Result<std::span<const std::byte>> PieceReader::next() {
  std::unique_lock lock(mutex_);
  CHECK(asked_for_ < pieces_, "there are no more pieces");
  const std::size_t piece = asked_for_++;
  Buffer& buffer = buffers_[piece % buffers_.size()];
  if (threads_.empty()) {
    if (Result<void> read = read_into(buffer, piece); !read) return std::move(read).error();
    return std::span<const std::byte>(buffer.bytes);
  }
  taken_.notify_all();
  arrived_.wait(lock, [&] { return buffer.piece == piece; });
  if (!buffer.read) return buffer.read.error();
  return std::span<const std::byte>(buffer.bytes);
}

}  // namespace pensieve
