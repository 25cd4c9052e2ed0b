#include "worker/state_keeper.h"

#include <algorithm>

#include "base/check.h"
#include "base/log.h"
#include "core/picture_token.h"
#include "platform/memory.h"
#include "worker/plan.h"

namespace pensieve {
namespace {

// Before a prompt's end: what is run for its logits, by the kernel for many rows.
constexpr std::int32_t kLeftToRun = kPrefillRowsMin;
constexpr std::int32_t kTailTokensMin = 16;  // Fewer since the last checkpoint are not worth another.
constexpr std::size_t kOwnMax = 2;
constexpr std::chrono::seconds kRestMin{1};
constexpr std::chrono::hours kNoWorkSoon{1};
constexpr std::chrono::milliseconds kWriterPoll{50};

std::int32_t common(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<std::int32_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

StateKeeper::StateKeeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact)
    : SlotKeeper(engine, std::move(store), exact), grain_(exact ? engine.state_grain() : 1), slots_(static_cast<std::size_t>(engine.facts().slots)) {
  CHECK(!store_ || !engine_.state_layout().empty(), "a store is only for what can be stored");
}

bool StateKeeper::any_free() const {
  return std::ranges::any_of(slots_, [](const Slot& slot) { return !slot.busy; });
}

std::vector<SequenceId> StateKeeper::spare_slots() const {
  std::vector<SequenceId> spare;
  if (spare_ != Spare::nothing) return spare;
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const Slot& slot = at(SequenceId{i});
    const bool kept = slot.tokens.empty() || (slot.stored && slot.stored->tokens == std::ssize(slot.tokens) && store_->has(slot.stored->key));
    if (!slot.busy && kept) spare.push_back(SequenceId{i});
  }
  return spare;
}

// Whether `prompt` can be gone on with after so many tokens, its steps the same as if nothing had been there.
bool StateKeeper::goes_on_at(std::span<const TokenId> prompt, std::int32_t tokens) const {
  return resume_at(prompt, tokens, careful_ ? kPrefillRowsMin : 1) == tokens;
}

// The last place up to `tokens` where the prompt can be cut in two: as above, and with rows enough of the text before it.
std::int32_t StateKeeper::cut_at(std::span<const TokenId> prompt, std::int32_t tokens) const {
  if (std::ranges::none_of(prompt, is_picture)) return tokens;
  while (tokens > 0) {
    const std::int32_t from = resume_at(prompt, tokens, kPrefillRowsMin);
    const auto before = prompt.first(static_cast<std::size_t>(tokens)).last(static_cast<std::size_t>(std::min(tokens, kPrefillRowsMin)));
    if (from == tokens && std::ranges::none_of(before, is_picture)) break;
    tokens = in_grains(std::min(from, tokens - 1));
  }
  return tokens;
}

// Of a mark of the client's.
std::int32_t StateKeeper::place_of(std::span<const TokenId> prompt, std::int32_t mark) const {
  return cut_at(prompt, in_grains(std::min(mark, static_cast<std::int32_t>(prompt.size()))));
}

// Whether all of what the slot holds is the beginning of `prompt`, no more than `most` of it.
bool StateKeeper::goes_on_with(const Slot& slot, std::span<const TokenId> prompt, std::int32_t most) const {
  const auto held = static_cast<std::int32_t>(slot.tokens.size());
  if (slot.busy || held == 0 || held > most || (careful_ && slot.prefilled < held)) return false;
  return common(slot.tokens, prompt) == held && goes_on_at(prompt, held);
}

// Reading so many tokens' state back beats computing them.
bool StateKeeper::worth(std::int32_t tokens) const {
  if (tokens < kGainMin) return false;
  return prefill_rate_ <= 0 || static_cast<double>(state_bytes_) / read_rate_ < tokens / prefill_rate_;
}

void StateKeeper::mark(Slot& slot, std::span<const TokenId> prompt, std::int32_t there) const {
  slot.marks.clear();
  slot.shared = 0;
  if (!store_) return;
  const std::int32_t last = cut_at(prompt, in_grains(static_cast<std::int32_t>(prompt.size()) - kLeftToRun));
  for (const Slot& other : slots_) slot.shared = std::max(slot.shared, in_grains(common(other.tokens, prompt)));
  if (slot.shared < last) slot.shared = cut_at(prompt, slot.shared);
  std::vector<std::int32_t> wanted{slot.shared};
  for (const std::int32_t asked : slot.asked) wanted.push_back(place_of(prompt, asked));
  std::ranges::sort(wanted);
  // Each saves something over the one before. No chunk of fewer rows than kPrefillRowsMin between two of them.
  std::int32_t before = there;
  for (const std::int32_t at : wanted) {
    if (worth(at - before) && at + kPrefillRowsMin <= last) slot.marks.push_back(before = at);
  }
  if (worth(last - before)) slot.marks.push_back(last);
}

std::int32_t StateKeeper::kept(SequenceId id, std::int32_t prompt_tokens) const {
  if (!store_) return prompt_tokens;  // In its slot, for what goes on from there.
  const Slot& slot = at(id);
  return slot.marks.empty() ? 0 : slot.marks.back();
}

std::optional<SequenceId> StateKeeper::take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for, std::span<const std::int32_t> marks) {
  const auto most = std::max(0, static_cast<std::int32_t>(prompt.size()) - (careful_ ? kLeftToRun : 1));
  std::optional<SequenceId> live, alike, oldest;
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const SequenceId id{i};
    const Slot& slot = at(id);
    if (slot.busy) continue;
    if (!oldest || slot.last_used < at(*oldest).last_used) oldest = id;
    if (goes_on_with(slot, prompt, most) && (!live || held(id) > held(*live))) live = id;
    // The same conversation, as it seems: it is gone on with in the same slot, from a checkpoint.
    if (held(id) > 0 && common(slot.tokens, prompt) * 4 >= held(id) * 3) alike = id;
  }
  if (!oldest) return std::nullopt;
  const std::int32_t there = live ? held(*live) : 0;
  std::optional<Checkpoint> from;
  if (store_) from = store_->longest_checkpoint(prompt.first(static_cast<std::size_t>(most)));
  // One that another prompt left may lie too shortly before a picture of this one.
  while (from && !goes_on_at(prompt, from->tokens)) from = store_->longest_checkpoint(prompt.first(static_cast<std::size_t>(from->tokens) - 1));
  if (from && !worth(from->tokens - there)) from.reset();

  const SequenceId target = from ? alike.value_or(*oldest) : live.value_or(*oldest);
  Slot& slot = at(target);
  if (slot.due && !(live == target && !from)) store(target);  // What it holds goes.
  slot.due.reset();
  slot.busy = true;
  slot.last_used = ++uses_;
  slot.keep_for = keep_for;
  slot.asked.assign(marks.begin(), marks.end());
  mark(slot, prompt, from ? from->tokens : there);
  keep_asked(slot, prompt);
  if (!from && live) {
    tokens_from_slots_ += static_cast<std::uint64_t>(there);
    return target;
  }
  engine_.forget(target, 0);
  if (!from || common(slot.tokens, prompt) < from->tokens) slot.own.clear();  // Another conversation's.
  slot.tokens.clear();
  slot.prefilled = 0;
  slot.stored.reset();
  slot.restore = from;
  if (from) slot.restore_prompt.assign(prompt.begin(), prompt.end());
  return target;
}

// What was made at the client's marks before is used, though something longer is gone on from.
void StateKeeper::keep_asked(const Slot& slot, std::span<const TokenId> prompt) {
  for (const std::int32_t asked : store_ ? std::span<const std::int32_t>(slot.asked) : std::span<const std::int32_t>()) {
    const std::int32_t at = place_of(prompt, asked);
    if (at < kGainMin) continue;
    const BlockKey key = child_of(store_->fingerprint(), prompt.first(static_cast<std::size_t>(at)));
    if (store_->has(key)) store_->used(std::span(&key, 1), slot.keep_for);
  }
}

void StateKeeper::restore_some(SequenceId id) {
  Slot& slot = at(id);
  CHECK(slot.restore, "only a slot that is being filled is filled");
  const Checkpoint from = *std::exchange(slot.restore, std::nullopt);
  const std::vector<TokenId> prompt = std::exchange(slot.restore_prompt, {});
  if (!load(id, from, std::span(prompt).first(static_cast<std::size_t>(from.tokens)))) return mark(slot, prompt, 0);
  tokens_from_store_ += static_cast<std::uint64_t>(from.tokens);
  store_->used(std::span(&from.key, 1), slot.keep_for);
}

bool StateKeeper::load(SequenceId id, const Checkpoint& from, std::span<const TokenId> tokens) {
  const TimePoint begun = SteadyClock::now();
  auto reader = store_->read(from.key, store_->fingerprint());
  if (!reader) return false;
  const BlockHead& head = reader->head();
  if (!std::ranges::equal(head.tokens, tokens) || head.piece_bytes.size() != 1) {
    store_->set_aside(from.key);
    return false;
  }
  std::vector<std::byte> state(head.piece_bytes.front());
  Result<void> loaded = reader->read(0, state);
  if (loaded) loaded = engine_.load_state(id, state);
  if (!loaded) {
    log::warn("kv: a checkpoint could not be used: {}", loaded.error().message);
    if (loaded.error().code == ErrorCode::corrupt) store_->set_aside(from.key);
    return false;
  }
  Slot& slot = at(id);
  slot.tokens.assign(tokens.begin(), tokens.end());
  slot.prefilled = from.tokens;
  slot.stored = from;
  state_bytes_ = state.size();
  read_rate_ = 0.7 * read_rate_ + 0.3 * static_cast<double>(state.size()) / std::max(seconds(SteadyClock::now() - begun), 1e-6);
  return true;
}

std::int32_t StateKeeper::chunk_end(SequenceId id, std::int32_t end) const {
  const Slot& slot = at(id);
  const auto mark = std::ranges::find_if(slot.marks, [&](std::int32_t at) { return at > std::ssize(slot.tokens); });
  if (mark == slot.marks.end()) return end;
  // A chunk that would end shortly before the mark leaves too few rows up to it.
  if (*mark > end && *mark - end < kPrefillRowsMin) return *mark - held(id) <= engine_.facts().step_rows_max ? *mark : *mark - kPrefillRowsMin;
  return std::min(end, *mark);
}

void StateKeeper::ran(SequenceId id, std::span<const TokenId> tokens, bool as_prefill) {
  Slot& slot = at(id);
  if (as_prefill && slot.prefilled == held(id)) slot.prefilled += static_cast<std::int32_t>(tokens.size());
  slot.tokens.insert(slot.tokens.end(), tokens.begin(), tokens.end());
  // Now or never. It waits for the writer when that has not even written the one before.
  if (std::ranges::find(slot.marks, held(id)) != slot.marks.end()) store(id);
}

void StateKeeper::spoiled(SequenceId id) {
  engine_.forget(id, 0);
  Slot& slot = at(id);
  Slot empty;
  empty.busy = slot.busy;
  empty.last_used = slot.last_used;
  slot = std::move(empty);
}

void StateKeeper::release(SequenceId id) {
  Slot& slot = at(id);
  slot.busy = false;
  slot.last_used = ++uses_;
  slot.marks.clear();
  if (slot.restore) return spoiled(id);  // It left before it began.
  want_stored(id);
}

// ---- storing ----

void StateKeeper::want_stored(SequenceId id) {
  Slot& slot = at(id);
  const std::int32_t since = held(id) - (slot.stored ? slot.stored->tokens : 0);
  if (!store_ || since < kTailTokensMin || held(id) < kGainMin || in_grains(held(id)) != held(id) || (careful_ && slot.prefilled < held(id))) return slot.due.reset();
  const std::chrono::duration<double> again(prefill_rate_ > 0 ? since / prefill_rate_ : 0.0);
  slot.due = SteadyClock::now() + std::max<SteadyClock::duration>(kRestMin, std::chrono::duration_cast<SteadyClock::duration>(again));
}

bool StateKeeper::is_due(const Slot& slot) const { return slot.due && (in_haste_ || spare_ != Spare::nothing || *slot.due <= SteadyClock::now()); }

bool StateKeeper::has_work() const {
  return std::ranges::any_of(slots_, [this](const Slot& slot) { return is_due(slot); });
}

std::chrono::milliseconds StateKeeper::next_work_in() const {
  const TimePoint now = SteadyClock::now();
  SteadyClock::duration soonest = kNoWorkSoon;
  for (const Slot& slot : slots_) {
    if (slot.due) soonest = std::min(soonest, std::max<SteadyClock::duration>(*slot.due - now, {}));
    // Its checkpoint is on its way to the disk; then the answer can be read again.
    if (is_unread(slot) && !store_->has(slot.stored->key) && !store_->flush(now)) soonest = std::min<SteadyClock::duration>(soonest, kWriterPoll);
  }
  return std::chrono::ceil<std::chrono::milliseconds>(soonest);
}

void StateKeeper::work(std::chrono::microseconds credit) {
  if (!has_work()) return;
  credit_ = std::min(credit_ + credit, std::max(store_time_, std::chrono::microseconds(100'000)));
  for (std::int32_t i = 0; i < std::ssize(slots_) && credit_ >= store_time_ && !store_->backlog_full(); ++i) {
    if (!is_due(at(SequenceId{i}))) continue;
    at(SequenceId{i}).due.reset();
    const TimePoint begun = SteadyClock::now();
    store(SequenceId{i});
    credit_ -= std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
  }
}

// What the slot holds, now.
void StateKeeper::store(SequenceId id) {
  Slot& slot = at(id);
  const TimePoint begun = SteadyClock::now();
  const BlockKey key = child_of(store_->fingerprint(), slot.tokens);
  const std::uint64_t bytes = engine_.state_bytes(id);
  // Older ones of its own are of no use any more, but for the last.
  const bool one_goes = slot.own.size() >= kOwnMax && slot.keep_for.count() == 0;
  const bool begin = store_->begin({key, store_->fingerprint(), slot.tokens, {bytes}, true}, slot.keep_for, one_goes ? std::vector{slot.own.front()} : std::vector<BlockKey>());
  if (!begin) {
    if (store_->has(key)) {
      slot.stored = {key, held(id)};
      store_->used(std::span(&key, 1), slot.keep_for);
    }
    return;
  }
  std::vector<std::byte> state(bytes);
  if (const Result<void> saved = engine_.save_state(id, state); !saved) {
    log::warn("kv: no checkpoint: {}", saved.error().message);
    return store_->drop();
  }
  store_->append(std::move(state));
  slot.stored = {key, held(id)};
  if (one_goes) slot.own.pop_front();
  if (slot.keep_for.count() == 0 && held(id) != slot.shared) slot.own.push_back(key);
  state_bytes_ = bytes;
  store_time_ = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
}

wire::KvFacts StateKeeper::facts() const {
  wire::KvFacts facts = common_facts();
  if (!store_) return facts;
  facts.store_pending = static_cast<std::uint64_t>(std::ranges::count_if(slots_, [](const Slot& slot) { return slot.due.has_value(); }));
  return facts;
}

// ---- reading answers again ----

// From its last checkpoint on, what it holds is not made by prefill alone.
bool StateKeeper::is_unread(const Slot& slot) const {
  const auto held = static_cast<std::int32_t>(slot.tokens.size());
  if (!careful_ || !store_ || spare_ != Spare::nothing || slot.busy || slot.prefilled >= held || !slot.stored || held - slot.stored->tokens < kPrefillRowsMin) return false;
  // A picture cannot be read again: it left with its request.
  return std::ranges::none_of(std::span(slot.tokens).subspan(static_cast<std::size_t>(slot.stored->tokens)), is_picture);
}

std::optional<SequenceId> StateKeeper::find_unread() const {
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    if (is_unread(at(SequenceId{i})) && store_->has(at(SequenceId{i}).stored->key)) return SequenceId{i};
  }
  return std::nullopt;
}

std::optional<SlotKeeper::Unread> StateKeeper::unread() {
  const auto id = find_unread();
  if (!id) return std::nullopt;
  Slot& slot = at(*id);
  const std::vector<TokenId> all = slot.tokens;
  const Checkpoint from = *slot.stored;
  const auto begin = static_cast<std::size_t>(from.tokens);
  if (!load(*id, from, std::span(all).first(begin))) {
    spoiled(*id);
    return std::nullopt;
  }
  // Behind it enough rows are left for the kernel that reads prompts.
  if (const std::int32_t mark = in_grains(static_cast<std::int32_t>(all.size()) - kLeftToRun); grain_ > 1 && mark - from.tokens >= kGainMin) at(*id).marks = {mark};
  return Unread{*id, from.tokens, {all.begin() + from.tokens, all.end()}};
}

}  // namespace pensieve
