// What the slots hold, and how the beginning of a prompt is had without computing
// it. The step loop asks; KvKeeper answers for models whose KV state can be cut in blocks,
// StateKeeper for those whose state is whole or nothing.
//
// A slot keeps what it holds when its request ends; the next request that begins alike goes on
// from there. What slots hold is written to the store behind the decoding (work()), so
// that it outlives the slot and the process.
//
// Exact mode (docs/decisions/0002): where a row's bits depend on how many share its step
// (EngineFacts::rows_alone is false) only what a prefill chunk of 8 rows and more made is used
// again, because the engine's kernel for fewer rows rounds differently. The tokens of an
// answer were run one by one; they are read again when nothing else is to do
// (unread()), and until then they are not reused.
//
//   Owns     the record of every slot's tokens, the store.
//   Threads  the engine thread.
//   Units    tokens; a position is an index into a slot's tokens.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "cache/block_store.h"
#include "engine/engine.h"
#include "wire/frames.h"

namespace pensieve {

class SlotKeeper {
 public:
  virtual ~SlotKeeper() = default;

  // A slot for `prompt`, taken until release(). Call restore_some() until it is done.
  // `keep_for`: the client asked that the prompt be kept so long (cache_control); `marks`: and where in it, rising.
  virtual std::optional<SequenceId> take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for, std::span<const std::int32_t> marks) = 0;
  std::optional<SequenceId> take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for) { return take_slot(prompt, keep_for, {}); }
  // Of its prompt, so many tokens will be found again where a later one shares them, as was asked.
  virtual std::int32_t kept(SequenceId slot, std::int32_t prompt_tokens) const = 0;
  virtual bool any_free() const = 0;
  // Free slots that hold nothing, or nothing that the store does not have; none while memory is short.
  virtual std::vector<SequenceId> spare_slots() const = 0;
  virtual bool restoring(SequenceId slot) const = 0;
  virtual void restore_some(SequenceId slot) = 0;  // About one block; or all.
  virtual std::int32_t held(SequenceId slot) const = 0;

  // Where a chunk of the prompt that would end at `end` is to end: not later.
  virtual std::int32_t chunk_end(SequenceId, std::int32_t end) const { return end; }
  // These tokens were run after the others of the slot.
  virtual void ran(SequenceId slot, std::span<const TokenId> tokens, bool as_prefill) = 0;
  virtual void spoiled(SequenceId slot) = 0;  // A step failed: what it holds is in doubt. Slots that are being filled from it keep what they have.
  // The prompt was read whole: it can be stored now, behind the decoding.
  virtual void prompt_read(SequenceId slot) = 0;
  virtual void release(SequenceId slot) = 0;  // The turn ended; what it holds stays.

  virtual bool has_work() const = 0;
  virtual std::chrono::milliseconds next_work_in() const = 0;  // When something will have rested; a long time for nothing.
  void hurry() { in_haste_ = true; }  // The process ends: nothing rests any more.
  // Stores for about so long; at least something when `credit` covers what one piece took lately.
  virtual void work(std::chrono::microseconds credit) = 0;

  // The machine is short of memory. `cold`: what free slots hold is stored without rest, and the memory
  // of those that were free for kColdAfter goes back to the system. `all`: at once, and where
  // there is no store what they held is lost.
  enum class Spare { nothing, cold, all };
  void spare(Spare how) { spare_ = how; }
  virtual void give_back() = 0;  // What is due of that; not while a slot is being read again.
  static constexpr std::chrono::seconds kColdAfter{10};

  // A free slot whose last tokens no prefill made yet, in exact mode. Run them from
  // `begin` on as a prefill, then call reread_done(); the slot is cut back to `begin` by this call.
  struct Unread {
    SequenceId slot{};
    std::int32_t begin = 0;
    std::vector<TokenId> tokens;  // From `begin` on.
  };
  virtual std::optional<Unread> unread() = 0;
  virtual void reread_done(SequenceId slot) = 0;
  virtual bool has_unread() const = 0;

  void note_prefill_rate(double tokens_per_second) { prefill_rate_ = tokens_per_second; }
  bool store_is_behind() const { return store_ && store_->backlog_full(); }
  bool flush(TimePoint deadline) { return !store_ || store_->flush(deadline); }  // What was begun is on disk. False: the deadline passed.
  virtual wire::KvFacts facts() const = 0;

 protected:
  SlotKeeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact) : engine_(engine), store_(std::move(store)), careful_(exact && !engine.facts().rows_alone) {}
  wire::KvFacts common_facts() const;  // What was reused, and the store's.

  Engine& engine_;
  const std::unique_ptr<BlockStore> store_;  // May be null.
  const bool careful_;       // Exact mode, and rows are not alone.
  double prefill_rate_ = 0;  // Tokens a second; 0: not measured yet.
  double read_rate_ = 1e9;   // Bytes a second from the store; measured as soon as something is read.
  bool in_haste_ = false;
  Spare spare_ = Spare::nothing;
  std::uint64_t tokens_from_slots_ = 0;
  std::uint64_t tokens_from_store_ = 0;
};

// For this engine; `store` may be null.
std::unique_ptr<SlotKeeper> make_slot_keeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact);

}  // namespace pensieve
