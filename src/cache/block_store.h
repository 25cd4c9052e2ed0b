// Blocks on disk, for all conversations, models and restarts.
//
// The file system is the index: a block's file is named by its key and its
// parent's ("KEY-PARENT.kv", in a folder named by the fingerprint; a checkpoint's by its
// key and the number of its tokens, "KEY-TOKENS.state"), its size and
// its time of last use are the file's own. So there is no index to lose, to
// rebuild or to disagree with the files (docs/decisions/0005): opening the store
// lists its folders. A time of use in the future pins a block until then.
//
//   Owns     the folder, its files, one writer thread.
//   Threads  the engine thread calls everything; the writer thread writes. Others
//            may call stats().
//   Blocks   longest_chain() and begin() never; best_partial(), read() and its reads for
//            the disk; append() while the writer is a block (at most 32 MB) behind.
//   Errors   a block that cannot be read is a miss. A disk that is full, read-only
//            or broken switches writing off until the store is opened again, says so in the
//            log and in stats(); reading goes on.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>

#include "base/clock.h"
#include "cache/block_file.h"

namespace pensieve {

struct StoreOptions {
  std::string folder;
  std::uint64_t size_max = std::uint64_t{32} << 30;          // Bytes of all blocks together.
  std::uint64_t writes_per_day_max = std::uint64_t{64} << 30;  // For the sake of the SSD.
  std::chrono::hours age_max{24 * 30};
  std::uint64_t free_min = std::uint64_t{1} << 30;            // Left free on the disk, always.
  std::uint64_t blocks_max = 16384;                          // Their names are in memory: some 3 MB. Short prompts make small blocks.
};

struct StoreStats {
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
  std::uint64_t bytes_written_today = 0;
  std::uint64_t blocks_written = 0;   // Since it was opened; so are those below.
  std::uint64_t blocks_read = 0;
  std::uint64_t blocks_evicted = 0;
  std::uint64_t blocks_set_aside = 0;  // Torn, flipped, swapped.
  std::string problem;                 // Why nothing is written; empty: it is.
};

struct BlockKeyHash {
  std::size_t operator()(const BlockKey& key) const { return static_cast<std::size_t>(key.low); }
};

class BlockStore {
 public:
  // `fingerprint`: only its blocks are found; those of others count for size and age.
  static Result<std::unique_ptr<BlockStore>> open(Files& files, StoreOptions options, const BlockKey& fingerprint, std::string_view about);
  ~BlockStore();  // Drops what is not written yet.
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  const BlockKey& fingerprint() const { return fingerprint_; }
  std::string own_folder() const { return options_.folder + "/" + own_folder_; }  // Of this fingerprint's files.
  bool has(const BlockKey& key) const;
  bool will_have(const BlockKey& key) const;  // Or it is being written.
  // How many of `chain`, from its first, are here.
  std::size_t longest_chain(std::span<const BlockKey> chain) const;

  // The block after `parent` (a tail, or a whole one) whose first tokens are those of
  // `rest`, the more the better; at least `least` of them. Of two that share as many, one that ends
  // there: others may go on from it. Of many candidates, those used last are looked at. Reads their heads
  // from the disk.
  struct Partial {
    BlockKey key;
    std::int32_t common = 0;  // Tokens that it shares with `rest`,
    std::int32_t tokens = 0;  // of so many that it holds.
  };
  std::optional<Partial> best_partial(const BlockKey& parent, std::span<const TokenId> rest, std::int32_t least);

  // The longest checkpoint of `prompt`: after its first so many tokens.
  struct Checkpoint {
    BlockKey key;
    std::int32_t tokens = 0;
    bool operator==(const Checkpoint&) const = default;
  };
  std::optional<Checkpoint> longest_checkpoint(std::span<const TokenId> prompt) const;

  // A block for reading; a miss when it is not what it should be (it is set aside then).
  // The caller compares head().tokens with those it wants.
  Result<BlockReader> read(const BlockKey& key, const BlockKey& parent);
  void set_aside(const BlockKey& key);  // Its content was wrong.
  void used(std::span<const BlockKey> chain, std::chrono::seconds pinned_for = {});

  // Writing: begin(), then every piece in order. False: not now (it is there, the
  // day's budget is spent, no room, writing is off); then nothing may be appended.
  // `pinned_for`: it is not evicted before that has passed. `replaces`: tails that this block
  // holds, children before their parents; they go when this one is there, unless others build on them.
  bool begin(BlockHead head, std::chrono::seconds pinned_for = {}, std::vector<BlockKey> replaces = {});
  void append(std::vector<std::byte> piece);
  void drop();          // The block begun will not be completed.
  bool backlog_full() const;
  bool flush(TimePoint deadline);  // Waits until the writer has nothing left. False: the deadline passed.

  StoreStats stats() const;

 private:
  struct Entry {
    BlockKey parent;
    const std::string* folder = nullptr;  // Of its fingerprint; in folders_.
    std::uint64_t bytes = 0;
    FileTime used{};
    int children = 0;
    std::int32_t checkpoint_tokens = 0;  // 0: a block.
  };
  struct Job {  // For the writer thread.
    enum class Kind { begin, piece, drop } kind = Kind::begin;
    BlockHead head;
    std::vector<std::byte> bytes;
    std::chrono::seconds pinned_for{0};
    std::vector<BlockKey> replaces = {};
  };

  BlockStore(Files& files, StoreOptions options, const BlockKey& fingerprint);
  Result<void> scan();
  void scan_folder(const std::string& name);
  Result<BlockReader> open_block(const BlockKey& key, const BlockKey& parent);
  std::string path_of(const BlockKey& key, const Entry& entry) const;
  bool make_room(std::uint64_t bytes);
  void forget_entry(const BlockKey& key);
  void insert(const BlockKey& key, const Entry& entry);
  void switch_off(const std::string& why);
  void load_budget();
  void note_spent();
  void write_jobs();
  Result<void> carry_out(Job& job);
  Result<void> complete();

  Files& files_;
  const StoreOptions options_;
  const BlockKey fingerprint_;
  const std::string own_folder_;  // Its name below options_.folder.

  mutable std::mutex mutex_;  // Not base/mutex.h: condition variables wait on it.
  std::unordered_map<BlockKey, Entry, BlockKeyHash> entries_;  // Guarded, as all below.
  std::set<std::string> folders_;
  StoreStats stats_;
  std::int64_t today_ = 0;
  struct Underway {
    BlockKey parent;
    std::uint64_t bytes = 0;
  };
  std::map<BlockKey, Underway> underway_;  // Being written, or waiting for it.
  std::deque<Job> jobs_;
  std::uint64_t backlog_bytes_ = 0;
  std::uint64_t backlog_bytes_max_ = 0;  // A block, at most kBacklogBytesMax: with the piece being read, the two that the plan counts.
  bool writing_ = false;  // The writer thread is at work on a job.
  bool stopping_ = false;
  std::condition_variable job_arrived_;
  std::condition_variable job_done_;

  // The writer thread's own.
  std::unique_ptr<BlockWriter> writer_;
  BlockHead writing_head_;
  std::string writing_path_;
  std::size_t pieces_left_ = 0;
  std::uint64_t writing_bytes_ = 0;
  std::chrono::seconds writing_pinned_for_{0};
  std::vector<BlockKey> writing_replaces_;

  std::jthread thread_;
};

}  // namespace pensieve
