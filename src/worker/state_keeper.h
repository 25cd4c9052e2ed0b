// SlotKeeper for models whose state is whole or nothing: sliding windows, recurrent and
// hybrid ones. A conversation goes on in the slot that holds exactly its beginning, or from
// a checkpoint in the store: the state after its first so many tokens.
//
// Where checkpoints are made:
//
//   prompt  ......|cache_control|....|shared|..........................|8 left| answer |
//                 4th              2nd                                 1st           3rd
//
//   1st  8 tokens before the prompt's end, while it is read: those 8 are run anyway when the same
//        prompt, or a longer one, comes again. The prompt is cut there (chunk_end()).
//   2nd  where another slot's tokens go another way: a beginning that was seen twice.
//   3rd  at the end of a turn, when it has rested. In exact mode the answer was read again
//        before that: from the last checkpoint on, for a state cannot be cut back to the answer's beginning.
//   4th  where the client marked the prompt, if that was not computed before: at most four.
//
// In exact mode all of them lie at multiples of the engine's grain (Engine::state_grain); where that is not 1, the 3rd
// is made while the answer is read again, without rest.
//
// No checkpoint lies in the midst of a picture, nor so near to one that a step of the text would have too few rows: it
// moves to the next place before.
//
// None where less than kGainMin tokens would be saved by it. Of a conversation's own two are kept: an
// older one goes when the next is there.
#pragma once

#include <deque>

#include "worker/slot_keeper.h"

namespace pensieve {

class StateKeeper final : public SlotKeeper {
 public:
  // `store` may be null: then a conversation goes on in its slot, or is computed.
  StateKeeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact);

  static constexpr std::int32_t kGainMin = 64;

  std::optional<SequenceId> take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for, std::span<const std::int32_t> marks) override;
  std::int32_t kept(SequenceId slot, std::int32_t prompt_tokens) const override;
  bool any_free() const override;
  std::vector<SequenceId> spare_slots() const override;
  bool restoring(SequenceId slot) const override { return at(slot).restore.has_value(); }
  void restore_some(SequenceId slot) override;
  std::int32_t held(SequenceId slot) const override { return static_cast<std::int32_t>(at(slot).tokens.size()); }
  std::int32_t chunk_end(SequenceId slot, std::int32_t end) const override;
  void ran(SequenceId slot, std::span<const TokenId> tokens, bool as_prefill) override;
  void spoiled(SequenceId slot) override;
  void prompt_read(SequenceId) override {}
  void release(SequenceId slot) override;
  bool has_work() const override;
  std::chrono::milliseconds next_work_in() const override;
  void work(std::chrono::microseconds credit) override;
  void give_back() override {}  // The engine does not tell where a slot's state lies.
  std::optional<Unread> unread() override;
  void reread_done(SequenceId slot) override { want_stored(slot); }
  bool has_unread() const override { return find_unread().has_value(); }
  wire::KvFacts facts() const override;

 private:
  using Checkpoint = BlockStore::Checkpoint;
  struct Slot {
    std::vector<TokenId> tokens;
    std::int32_t prefilled = 0;  // So many from the first were made by prefill.
    bool busy = false;
    std::uint64_t last_used = 0;
    std::chrono::seconds keep_for{0};
    std::vector<std::int32_t> asked;      // Where the client asked for that, rising.
    std::vector<std::int32_t> marks;      // Where its prompt is to be stored; rising.
    std::int32_t shared = 0;              // The one that is not this conversation's alone.
    std::optional<Checkpoint> stored;     // The last one on the way to what it holds.
    std::deque<BlockKey> own;             // Those it made for this conversation, oldest first.
    std::optional<TimePoint> due;         // What it holds is to be stored then.
    std::optional<Checkpoint> restore;    // It is to be filled from this one,
    std::vector<TokenId> restore_prompt;  // for this prompt.
  };

  Slot& at(SequenceId slot) { return slots_[static_cast<std::size_t>(slot)]; }
  const Slot& at(SequenceId slot) const { return slots_[static_cast<std::size_t>(slot)]; }
  bool goes_on_at(std::span<const TokenId> prompt, std::int32_t tokens) const;
  std::int32_t cut_at(std::span<const TokenId> prompt, std::int32_t tokens) const;
  std::int32_t place_of(std::span<const TokenId> prompt, std::int32_t mark) const;
  bool goes_on_with(const Slot& slot, std::span<const TokenId> prompt, std::int32_t most) const;
  std::int32_t in_grains(std::int32_t tokens) const { return tokens / grain_ * grain_; }
  void mark(Slot& slot, std::span<const TokenId> prompt, std::int32_t there) const;
  void keep_asked(const Slot& slot, std::span<const TokenId> prompt);
  bool worth(std::int32_t tokens) const;
  bool is_due(const Slot& slot) const;
  void want_stored(SequenceId id);
  void store(SequenceId id);
  bool load(SequenceId id, const Checkpoint& from, std::span<const TokenId> tokens);
  std::optional<SequenceId> find_unread() const;
  bool is_unread(const Slot& slot) const;

  const std::int32_t grain_;  // Engine::state_grain(), in exact mode.
  std::vector<Slot> slots_;
  std::uint64_t uses_ = 0;
  std::uint64_t state_bytes_ = 0;  // Of the last one that was stored or read.
  std::chrono::microseconds credit_{0};
  std::chrono::microseconds store_time_{0};  // What reading a state out took lately.
};

}  // namespace pensieve
