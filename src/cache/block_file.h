// One block on disk: 256 tokens and their KV state, or fewer where a chain ends; or
// a checkpoint: the whole state after a sequence's first tokens, all of them (docs/kv_store.md
// has the drawing).
// Every byte of it is covered by a checksum, and nothing is handed on before its
// own was right: a torn, flipped or swapped file is never used.
//
//   Owns     its File.
//   Threads  one at a time; BlockReader::read() of different pieces: several.
//   Errors   corrupt: this is not the block that was asked for; set it aside.
//            Others come from the disk and say nothing about the block.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cache/block_key.h"
#include "platform/files.h"

namespace pensieve {

struct BlockHead {
  BlockKey key;
  BlockKey parent;
  std::vector<TokenId> tokens;             // kBlockTokens of them, or fewer: the tail of a chain. Of a checkpoint any number.
  std::vector<std::uint64_t> piece_bytes;  // As the engine cuts its state.
  bool checkpoint = false;                 // Then its parent is the fingerprint.
};

inline constexpr std::size_t kCheckpointTokensMax = 1u << 20;

std::uint64_t block_file_bytes(const BlockHead& head);

// Writes from front to end; the file is whole once finish() returned.
class BlockWriter {
 public:
  static Result<BlockWriter> begin(std::unique_ptr<File> file, const BlockHead& head);
  Result<void> append(std::span<const std::byte> piece);
  Result<void> finish();
  Result<void> sync() { return file_->sync(); }

 private:
  explicit BlockWriter(std::unique_ptr<File> file) : file_(std::move(file)) {}
  std::unique_ptr<File> file_;
  std::vector<std::uint64_t> checksums_;
};

class BlockReader {
 public:
  // Reads and checks all but the content, and that the name follows from the tokens.
  static Result<BlockReader> open(std::unique_ptr<File> file);

  const BlockHead& head() const { return head_; }
  // `out` has piece_bytes[piece] bytes. Checked before it returns.
  Result<void> read(std::size_t piece, std::span<std::byte> out);
  Result<void> verify();  // All pieces, through a buffer of its own.

 private:
  explicit BlockReader(std::unique_ptr<File> file) : file_(std::move(file)) {}
  std::unique_ptr<File> file_;
  BlockHead head_;
  std::vector<std::uint64_t> offsets_;
  std::vector<std::uint64_t> checksums_;
};

}  // namespace pensieve
