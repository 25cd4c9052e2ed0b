// SlotKeeper for models whose KV state can be cut in blocks: what a prompt begins with
// still lies in a free slot, in another slot, or in the block store.
//
// What a slot holds is written to the store a piece at a time (work()).
//
// The last tokens, fewer than a block, are stored as tails: each goes on where the one
// before ends, so nothing is written again until the block is full and takes the place of
// them all. At once where computing them again would take a quarter of a second and more, else when they have
// rested for a second. So what is lost with the process was computed a moment ago.
#pragma once

#include "worker/slot_keeper.h"

namespace pensieve {

class KvKeeper final : public SlotKeeper {
 public:
  // `store` may be null: then only what lies in slots is used again.
  KvKeeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact);

  std::optional<SequenceId> take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for, std::span<const std::int32_t> marks) override;
  std::int32_t kept(SequenceId, std::int32_t prompt_tokens) const override { return prompt_tokens; }
  bool any_free() const override;
  std::vector<SequenceId> spare_slots() const override;
  bool restoring(SequenceId slot) const override { return at(slot).restore.has_value(); }
  void restore_some(SequenceId slot) override;
  std::int32_t held(SequenceId slot) const override { return static_cast<std::int32_t>(at(slot).tokens.size()); }
  void ran(SequenceId slot, std::span<const TokenId> tokens, bool as_prefill) override;
  void spoiled(SequenceId slot) override;
  void prompt_read(SequenceId slot) override;
  void release(SequenceId slot) override;
  bool has_work() const override;
  std::chrono::milliseconds next_work_in() const override;
  void work(std::chrono::microseconds credit) override;
  void give_back() override;
  std::optional<Unread> unread() override;
  void reread_done(SequenceId slot) override { want_stored(slot); }
  bool has_unread() const override { return find_unread().has_value(); }
  wire::KvFacts facts() const override;

 private:
  struct Tail {
    BlockKey key;
    std::int32_t begin = 0;  // Where in the sequence.
    std::int32_t tokens = 0;
  };
  struct Part {  // Of a chain in the store.
    BlockKey key;
    BlockKey parent;
    std::int32_t wanted = 0;  // Tokens, its first; fewer than it has only in the last.
  };
  struct Restore {
    std::optional<SequenceId> from_slot;  // Unset: from the store.
    std::vector<TokenId> tokens;          // All that will be in place.
    std::vector<Part> parts;              // From the store: blocks, then tails.
    std::size_t parts_done = 0;
    std::int32_t done = 0;                // Tokens.
    std::vector<Tail> tails;              // Those that were read whole.
    bool source_lost = false;             // That slot was spoiled meanwhile: no more can be had of it.
  };
  struct Slot {
    std::vector<TokenId> tokens;
    std::int32_t prefilled = 0;  // So many from the first were made by prefill.
    bool busy = false;
    std::uint64_t last_used = 0;
    std::chrono::seconds keep_for{0};
    std::int32_t blocks_wanted = 0;  // To be stored, of the first so many blocks
    std::int32_t blocks_looked_at = 0;  // these are stored, or were turned down.
    std::optional<TimePoint> tail_due;  // Its last tokens are to be stored then, if they lie there still.
    std::vector<Tail> tails;            // Of its last block: each begins where the one before ends.
    std::optional<Restore> restore;
    TimePoint free_since{};
    std::optional<std::uint64_t> given_back;  // Bytes of its memory that the system has. Unset: it was not given back.
  };
  struct Export {  // The block being stored.
    SequenceId slot{};
    BlockKey key;
    std::int32_t begin = 0;   // Where in the sequence.
    std::int32_t tokens = 0;  // kBlockTokens, or those of a tail.
    std::size_t piece = 0;
  };

  Slot& at(SequenceId slot) { return slots_[static_cast<std::size_t>(slot)]; }
  const Slot& at(SequenceId slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  std::int32_t reusable(const Slot& slot) const;
  std::int32_t common(const Slot& slot, std::span<const TokenId> prompt) const;
  std::int32_t resumable(std::span<const TokenId> prompt, std::int32_t length) const;
  // With fewer rows than a prefill needs left, some before them are run once more.
  static std::int32_t unread_begin(const Slot& slot);
  bool is_unread(const Slot& slot) const;  // In exact mode.
  void cut(SequenceId slot, std::int32_t from);
  void want_stored(SequenceId slot);
  void want_answer_stored(SequenceId slot);
  void drop_export();
  void finish_storing(SequenceId slot, bool with_tail);
  bool begin_export();
  bool begin_block(SequenceId slot, std::int32_t block);
  bool begin_tail(SequenceId slot);
  bool begin_part(SequenceId slot, const BlockKey& parent, std::int32_t begin, std::int32_t tokens, std::vector<BlockKey> replaces);
  // Up to where tails hold what lies behind the last whole block of the first `length` tokens.
  static std::int32_t tails_end(const Slot& slot, std::int32_t length);
  std::vector<Part> find_stored(std::span<const TokenId> prompt, std::int32_t best_elsewhere);
  BlockKey parent_at(const Slot& slot, std::int32_t begin) const;
  bool takes_long(std::int32_t tokens) const;  // To compute them again.
  bool tail_is_due(const Slot& slot) const;
  bool to_be_stored(const Slot& slot) const { return store_ && (slot.blocks_looked_at < slot.blocks_wanted || slot.tail_due); }
  std::optional<TimePoint> give_back_at(SequenceId id) const;
  void export_piece();
  BlockHead head_of(const BlockKey& key, const BlockKey& parent, std::span<const TokenId> tokens) const;
  bool reading_pays() const { return reading_pays(kBlockTokens, kBlockTokens); }
  bool reading_pays(std::int32_t tokens_read, std::int32_t tokens_gained) const;
  std::optional<SequenceId> find_unread() const;
  bool is_source(SequenceId slot) const;  // Another slot is being filled from it.
  bool is_stored(const Slot& slot) const;
  bool is_free(SequenceId slot) const { return !at(slot).busy && !is_source(slot); }
  void copy_block(SequenceId slot, Restore& restore);
  bool read_part(SequenceId slot, Restore& restore);
  Result<void> read_cells(SequenceId slot, std::int32_t begin, std::int32_t count, BlockReader& block);

  std::vector<Slot> slots_;
  int read_threads_;  // At work on a block that is read back.
  std::uint64_t uses_ = 0;
  std::optional<Export> export_;
  std::chrono::microseconds credit_{0};
  std::chrono::microseconds piece_time_{0};  // What storing one took lately.
  std::vector<std::byte> buffer_;
  std::uint64_t block_bytes_ = 0;
  std::uint64_t turned_down_ = 0;
};

}  // namespace pensieve
