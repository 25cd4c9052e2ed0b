#include "worker/kv_keeper.h"

#include <algorithm>
#include <numeric>
#include <ranges>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "cache/piece_reader.h"
#include "core/picture_token.h"
#include "platform/cores.h"
#include "platform/memory.h"
#include "worker/plan.h"

namespace pensieve {
namespace {

// Slower than computing is no verdict for ever: now and then it is measured again.
constexpr std::uint64_t kMeasureAgainEvery = 32;
// What a slot holds is stored behind the decoding; when the slot is wanted before that is done, so long is waited.
constexpr std::chrono::seconds kFinishStoringMax{2};
// Fewer tokens than that are not worth a file, nor the reading of one.
constexpr std::int32_t kTailTokensMin = 8;
constexpr std::chrono::seconds kTailRest{1};
constexpr std::chrono::milliseconds kTailLostMax{250};  // What would take longer to compute again does not rest.
constexpr std::chrono::hours kNoWorkSoon{1};
constexpr int kReadThreadsMax = 8;      // Beyond that the memory is the limit.
constexpr std::size_t kBufferShare = 8; // At most so large a part of a block lies in a buffer (budget/budget.cpp counts it).

std::chrono::microseconds since(TimePoint begun) { return std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun); }

}  // namespace

KvKeeper::KvKeeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact)
    : SlotKeeper(engine, std::move(store), exact), slots_(static_cast<std::size_t>(engine.facts().slots)), read_threads_(std::min(usable_cores(), kReadThreadsMax)) {
  CHECK(engine_.kv_shape() != nullptr, "another keeper is for states that cannot be cut");
  for (const std::size_t bytes : engine_.kv_shape()->piece_token_bytes) block_bytes_ += bytes * kBlockTokens;
}

bool KvKeeper::any_free() const {
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    if (is_free(SequenceId{i})) return true;
  }
  return false;
}

std::vector<SequenceId> KvKeeper::spare_slots() const {
  std::vector<SequenceId> spare;
  if (spare_ != Spare::nothing) return spare;
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const SequenceId id{i};
    const bool missed = !at(id).tokens.empty() && !is_stored(at(id));
    if (is_free(id) && !missed && !(export_ && export_->slot == id)) spare.push_back(id);
  }
  return spare;
}

bool KvKeeper::is_stored(const Slot& slot) const {
  if (!store_ || to_be_stored(slot) || reusable(slot) < std::ssize(slot.tokens)) return false;
  const auto chain = chain_of(store_->fingerprint(), slot.tokens);
  const auto length = static_cast<std::int32_t>(slot.tokens.size());
  return store_->longest_chain(chain) == chain.size() && length - tails_end(slot, length) < kTailTokensMin;
}

std::int32_t KvKeeper::tails_end(const Slot& slot, std::int32_t length) {
  const std::int32_t block_begin = length / kBlockTokens * kBlockTokens;
  if (slot.tails.empty() || slot.tails.back().begin < block_begin) return block_begin;
  return slot.tails.back().begin + slot.tails.back().tokens;
}

bool KvKeeper::is_source(SequenceId id) const {
  return std::ranges::any_of(slots_, [&](const Slot& slot) { return slot.restore && slot.restore->from_slot == id && !slot.restore->source_lost; });
}

std::int32_t KvKeeper::reusable(const Slot& slot) const {
  if (slot.restore) return 0;
  return careful_ ? slot.prefilled : static_cast<std::int32_t>(slot.tokens.size());
}

// How much of `prompt` lies in the slot. Never all of it: the last token is run for
// its logits, and in exact mode with enough others to take the same kernel.
std::int32_t KvKeeper::common(const Slot& slot, std::span<const TokenId> prompt) const {
  const auto there = std::span(slot.tokens).first(static_cast<std::size_t>(reusable(slot)));
  const auto [end, ignored] = std::ranges::mismatch(there, prompt);
  const auto length = static_cast<std::int32_t>(end - there.begin());
  return resumable(prompt, length);
}

std::int32_t KvKeeper::resumable(std::span<const TokenId> prompt, std::int32_t length) const {
  const std::int32_t rows_min = careful_ ? kPrefillRowsMin : 1;
  return resume_at(prompt, std::max(0, std::min(length, static_cast<std::int32_t>(prompt.size()) - rows_min)), rows_min);
}

std::optional<SequenceId> KvKeeper::take_slot(std::span<const TokenId> prompt, std::chrono::seconds keep_for, std::span<const std::int32_t>) {
  std::optional<SequenceId> source, oldest;
  std::int32_t best = 0;
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const Slot& slot = slots_[static_cast<std::size_t>(i)];
    const bool free = is_free(SequenceId{i});
    if (free && (!oldest || slot.last_used < at(*oldest).last_used)) oldest = SequenceId{i};
    const std::int32_t length = common(slot, prompt);
    if (length == 0) continue;
    const bool better = length > best || (length == best && free && !is_free(*source));
    if (better) {
      source = SequenceId{i};
      best = length;
    }
  }
  if (!oldest) return std::nullopt;

  std::vector<Part> parts = find_stored(prompt, best);
  std::int32_t stored = 0;
  for (const Part& part : parts) stored += part.wanted;

  // The conversation that lies there goes on in its own slot; another one that only
  // begins alike takes the slot that was idle longest, and a copy.
  const bool goes_on = source && best >= stored && is_free(*source) && (best * 4 >= held(*source) * 3 || *source == *oldest);
  const SequenceId target = goes_on ? *source : *oldest;
  Slot& slot = at(target);
  // Before it is overwritten. It may be another conversation that begins alike, which cuts what lies there; one that goes on waits for
  // nothing: its blocks are stored from the slot as well while it runs.
  if (!goes_on || held(target) - best >= kTailTokensMin) finish_storing(target, true);
  else if (export_ && export_->slot == target && export_->begin + export_->tokens > best) drop_export();
  slot.busy = true;
  slot.given_back.reset();
  slot.last_used = ++uses_;
  slot.keep_for = keep_for;
  slot.tail_due.reset();
  if (goes_on) {
    cut(target, best);
    tokens_from_slots_ += static_cast<std::uint64_t>(best);
    slot.blocks_looked_at = std::min(slot.blocks_looked_at, best / kBlockTokens);
    slot.blocks_wanted = std::min(slot.blocks_wanted, best / kBlockTokens);
    return target;
  }
  // `source` is read while `target` is filled: they must not be the same.
  const bool copies = source && best > stored && *source != target;
  const std::int32_t length = copies ? best : stored;
  engine_.forget(target, 0);
  slot.tokens.clear();
  slot.tails.clear();
  slot.prefilled = slot.blocks_wanted = slot.blocks_looked_at = 0;
  if (length == 0) return target;
  if (const Result<void> claimed = engine_.claim_kv(target, prompt.first(static_cast<std::size_t>(length))); !claimed) {
    log::warn("kv: {}", claimed.error().message);
    return target;
  }
  slot.restore = Restore{copies ? source : std::nullopt, {prompt.begin(), prompt.begin() + length}, copies ? std::vector<Part>() : std::move(parts), 0, 0, {}};
  if (copies) {
    slot.restore->tails = at(*source).tails;
    std::erase_if(slot.restore->tails, [&](const Tail& tail) { return tail.begin + tail.tokens > length; });
  }
  return target;
}

// What the store holds of a prompt's beginning: whole blocks, then tails, or the beginning of a block that goes another way.
// `best_elsewhere`: so much of it lies in a slot; less is not looked for closely.
std::vector<KvKeeper::Part> KvKeeper::find_stored(std::span<const TokenId> prompt, std::int32_t best_elsewhere) {
  std::vector<Part> parts;
  if (!store_ || (!reading_pays() && ++turned_down_ % kMeasureAgainEvery != 0)) return parts;
  auto chain = chain_of(store_->fingerprint(), prompt);
  chain.resize(store_->longest_chain(chain));
  const std::int32_t whole = resumable(prompt, static_cast<std::int32_t>(chain.size()) * kBlockTokens);
  BlockKey parent = store_->fingerprint();
  for (std::int32_t begin = 0; begin < whole; begin += kBlockTokens) {
    const BlockKey& key = chain[static_cast<std::size_t>(begin / kBlockTokens)];
    parts.push_back({key, parent, std::min(kBlockTokens, whole - begin)});
    parent = key;
  }
  if (whole % kBlockTokens != 0 || whole + kBlockTokens <= best_elsewhere) return parts;
  const std::int32_t end = std::min(whole + kBlockTokens, static_cast<std::int32_t>(prompt.size()) - (careful_ ? kPrefillRowsMin : 1));
  for (std::int32_t at = whole; end - at >= kTailTokensMin;) {
    const auto rest = prompt.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(end - at));
    const auto partial = store_->best_partial(parent, rest, kTailTokensMin);
    const std::int32_t with = partial ? resumable(prompt, at + partial->common) : 0;
    if (with <= at || !reading_pays(partial->tokens, with - at)) break;
    parts.push_back({partial->key, parent, with - at});
    if (with - at < partial->tokens) break;
    at = with;
    parent = partial->key;
  }
  return parts;
}

void KvKeeper::restore_some(SequenceId id) {
  Slot& slot = at(id);
  CHECK(slot.restore, "only a slot that is being filled is filled");
  Restore& restore = *slot.restore;
  const auto total = static_cast<std::int32_t>(restore.tokens.size());
  bool good = true;
  if (restore.source_lost) good = false;
  else if (restore.from_slot) copy_block(id, restore);
  else good = read_part(id, restore);
  if (good && restore.done < total) return;

  Restore filled = *std::exchange(slot.restore, std::nullopt);
  const bool from_store = !filled.from_slot;
  // What broke off may have done so in the midst of a picture.
  const std::int32_t done = filled.done == total ? total : resumable(filled.tokens, filled.done);
  slot.tokens = std::move(filled.tokens);
  slot.tails = std::move(filled.tails);
  slot.prefilled = total;
  if (done < total) cut(id, done);
  (from_store ? tokens_from_store_ : tokens_from_slots_) += static_cast<std::uint64_t>(done);
  slot.blocks_wanted = slot.blocks_looked_at = from_store ? done / kBlockTokens : 0;
  if (!from_store) return;
  std::vector<BlockKey> used;
  for (const Part& part : std::span(filled.parts).first(filled.parts_done)) used.push_back(part.key);
  store_->used(used);
}

void KvKeeper::copy_block(SequenceId id, Restore& restore) {
  const std::int32_t count = std::min(kBlockTokens, static_cast<std::int32_t>(restore.tokens.size()) - restore.done);
  const auto& pieces = engine_.kv_shape()->piece_token_bytes;
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
    std::span<const std::byte> cells = engine_.kv_cells(*restore.from_slot, piece, restore.done, count);
    if (cells.empty()) {
      buffer_.resize(pieces[piece] * static_cast<std::size_t>(count));
      engine_.read_kv(*restore.from_slot, piece, restore.done, count, buffer_);
      cells = buffer_;
    }
    engine_.write_kv(id, piece, restore.done, count, cells, count);
  }
  restore.done += count;
}

bool KvKeeper::read_part(SequenceId id, Restore& restore) {
  const Part& part = restore.parts[restore.parts_done];
  const std::int32_t count = part.wanted;
  const TimePoint begun = SteadyClock::now();
  auto reader = store_->read(part.key, part.parent);
  if (!reader) return false;
  const BlockHead& head = reader->head();
  const auto wanted = std::span(restore.tokens).subspan(static_cast<std::size_t>(restore.done), static_cast<std::size_t>(count));
  const auto& pieces = engine_.kv_shape()->piece_token_bytes;
  const std::size_t held = head.tokens.size();
  const bool fits = held >= wanted.size() && std::ranges::equal(std::span(head.tokens).first(wanted.size()), wanted) &&
                    std::ranges::equal(head.piece_bytes, pieces, [&](std::uint64_t bytes, std::size_t each) { return bytes == std::uint64_t{each} * held; });
  if (!fits) {
    store_->set_aside(part.key);
    return false;
  }
  if (const Result<void> read = read_cells(id, restore.done, count, *reader); !read) {
    log::warn("kv: a block could not be read: {}", read.error().message);
    if (read.error().code == ErrorCode::corrupt) store_->set_aside(part.key);
    return false;
  }
  if (held < kBlockTokens && held == wanted.size()) restore.tails.push_back({part.key, restore.done, count});
  const double rate = static_cast<double>(block_bytes_) / kBlockTokens * static_cast<double>(held) / std::max(seconds(SteadyClock::now() - begun), 1e-6);
  read_rate_ = 0.7 * read_rate_ + 0.3 * rate;
  restore.done += count;
  ++restore.parts_done;
  return true;
}

// The first `count` tokens of a block into the cells from `begin` on: straight, where those lie in our memory and take
// all of it; else by way of a buffer.
Result<void> KvKeeper::read_cells(SequenceId id, std::int32_t begin, std::int32_t count, BlockReader& block) {
  const auto& pieces = engine_.kv_shape()->piece_token_bytes;
  const auto held = static_cast<std::int32_t>(block.head().tokens.size());
  std::vector<std::span<std::byte>> places;
  if (held == count) {
    for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
      const auto cells = engine_.kv_cells(id, piece, begin, count);
      if (cells.empty()) break;
      places.push_back(cells);
    }
    if (places.size() == pieces.size()) {
      Result<void> read = read_pieces(block, 0, places, read_threads_);
      // Attention multiplies cells that nobody wants by 0, and something that is no number stays so.
      if (!read) std::ranges::for_each(places, [](std::span<std::byte> place) { std::ranges::fill(place, std::byte{0}); });
      return read;
    }
  }
  const std::size_t at_once = std::max<std::size_t>(1, pieces.size() / kBufferShare);
  for (std::size_t first = 0; first < pieces.size(); first += at_once) {
    const auto some = std::span(pieces).subspan(first, std::min(at_once, pieces.size() - first));
    buffer_.resize(std::accumulate(some.begin(), some.end(), std::size_t{0}) * static_cast<std::size_t>(held));
    places.clear();
    std::span<std::byte> rest = buffer_;
    for (const std::size_t token_bytes : some) {
      places.push_back(rest.first(token_bytes * static_cast<std::size_t>(held)));
      rest = rest.subspan(places.back().size());
    }
    if (Result<void> read = read_pieces(block, first, places, read_threads_); !read) return read;
    for (std::size_t i = 0; i < places.size(); ++i) engine_.write_kv(id, first + i, begin, count, places[i], held);
  }
  return {};
}

void KvKeeper::cut(SequenceId id, std::int32_t from) {
  Slot& slot = at(id);
  if (from < held(id)) engine_.forget(id, from);
  slot.tokens.resize(static_cast<std::size_t>(from));
  std::erase_if(slot.tails, [from](const Tail& tail) { return tail.begin + tail.tokens > from; });
  slot.prefilled = std::min(slot.prefilled, from);
}

void KvKeeper::ran(SequenceId id, std::span<const TokenId> tokens, bool as_prefill) {
  Slot& slot = at(id);
  if (as_prefill && slot.prefilled == held(id)) slot.prefilled += static_cast<std::int32_t>(tokens.size());
  slot.tokens.insert(slot.tokens.end(), tokens.begin(), tokens.end());
  if (!as_prefill && !careful_ && store_) want_answer_stored(id);
}

// Of an answer that runs each block as it is full, and its last tokens where it would take long to compute them again.
void KvKeeper::want_answer_stored(SequenceId id) {
  const Slot& slot = at(id);
  if (held(id) % kBlockTokens == 0 || (!slot.tail_due && takes_long(held(id) - tails_end(slot, held(id))))) want_stored(id);
}

bool KvKeeper::takes_long(std::int32_t tokens) const { return prefill_rate_ > 0 && tokens / prefill_rate_ > seconds(kTailLostMax); }

void KvKeeper::spoiled(SequenceId id) {
  // What was copied from it before the step that failed is good; the rest is computed.
  for (Slot& other : slots_) {
    if (other.restore && other.restore->from_slot == id) other.restore->source_lost = true;
  }
  engine_.forget(id, 0);
  Slot& slot = at(id);
  if (export_ && export_->slot == id) drop_export();
  Slot empty;
  empty.busy = slot.busy;
  empty.last_used = slot.last_used;
  empty.free_since = slot.free_since;
  slot = std::move(empty);
}

void KvKeeper::prompt_read(SequenceId id) {
  Slot& slot = at(id);
  if (!store_) return;
  if (slot.keep_for.count() > 0) store_->used(chain_of(store_->fingerprint(), slot.tokens), slot.keep_for);
  want_stored(id);  // It would be when the turn ends; until then a stream may have to go on in another process.
}

void KvKeeper::release(SequenceId id) {
  Slot& slot = at(id);
  slot.busy = false;
  slot.free_since = SteadyClock::now();
  slot.last_used = ++uses_;
  if (slot.restore) {  // It left before it began.
    slot.restore.reset();
    return spoiled(id);
  }
  want_stored(id);
}

bool KvKeeper::reading_pays(std::int32_t tokens_read, std::int32_t tokens_gained) const {
  if (prefill_rate_ <= 0) return true;  // Not measured yet.
  return static_cast<double>(block_bytes_) / kBlockTokens * tokens_read / read_rate_ < tokens_gained / prefill_rate_;
}

// ---- storing ----

void KvKeeper::want_stored(SequenceId id) {
  if (!store_ || !reading_pays()) return;
  Slot& slot = at(id);
  const std::int32_t blocks = reusable(slot) / kBlockTokens;
  const std::int32_t nameable = nameable_blocks(slot.tokens, blocks, kBlockTokens);
  slot.blocks_wanted = std::max(slot.blocks_wanted, nameable);
  const std::int32_t missing = reusable(slot) - tails_end(slot, reusable(slot));
  if (missing < kTailTokensMin || nameable < blocks) return slot.tail_due.reset();
  slot.tail_due = SteadyClock::now();
  if (!takes_long(missing)) *slot.tail_due += kTailRest;
}

bool KvKeeper::tail_is_due(const Slot& slot) const { return slot.tail_due && (in_haste_ || spare_ != Spare::nothing || *slot.tail_due <= SteadyClock::now()); }

bool KvKeeper::has_work() const {
  if (export_) return true;
  return std::ranges::any_of(slots_, [this](const Slot& slot) { return slot.blocks_looked_at < slot.blocks_wanted || tail_is_due(slot); });
}

std::chrono::milliseconds KvKeeper::next_work_in() const {
  const TimePoint now = SteadyClock::now();
  SteadyClock::duration soonest = kNoWorkSoon;
  for (const Slot& slot : slots_) {
    if (slot.tail_due) soonest = std::min(soonest, std::max<SteadyClock::duration>(*slot.tail_due - now, {}));
  }
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    if (const auto due = give_back_at(SequenceId{i})) soonest = std::min(soonest, std::max<SteadyClock::duration>(*due - now, {}));
  }
  return std::chrono::ceil<std::chrono::milliseconds>(soonest);
}

void KvKeeper::work(std::chrono::microseconds credit) {
  if (!has_work()) return;
  // At least one piece's: else one that took long (the process was stopped meanwhile) would be the last.
  credit_ = std::min(credit_ + credit, std::max(piece_time_, std::chrono::microseconds(100'000)));
  while (credit_ >= piece_time_ && !store_->backlog_full()) {
    if (!export_ && !begin_export()) return;
    const TimePoint begun = SteadyClock::now();
    export_piece();
    const auto took = since(begun);
    piece_time_ = (piece_time_ * 3 + took) / 4;
    credit_ -= took;
  }
}

// The next block that the store takes; those it has or turns down are passed over. Whole ones
// first, then tails.
bool KvKeeper::begin_export() {
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(i)];
    while (slot.blocks_looked_at < slot.blocks_wanted) {
      if (begin_block(SequenceId{i}, slot.blocks_looked_at)) return true;
      ++slot.blocks_looked_at;
    }
  }
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    Slot& slot = slots_[static_cast<std::size_t>(i)];
    if (!tail_is_due(slot)) continue;
    slot.tail_due.reset();
    if (begin_tail(SequenceId{i})) return true;
  }
  return false;
}

// A whole one, which takes the place of the tails that it grew from.
bool KvKeeper::begin_block(SequenceId id, std::int32_t block) {
  const Slot& slot = at(id);
  const std::int32_t begin = block * kBlockTokens;
  std::vector<BlockKey> replaces;
  for (const Tail& tail : slot.tails | std::views::reverse) {
    if (tail.begin / kBlockTokens == block) replaces.push_back(tail.key);
  }
  return begin_part(id, parent_at(slot, begin), begin, kBlockTokens, std::move(replaces));
}

// What its tails do not hold yet.
bool KvKeeper::begin_tail(SequenceId id) {
  Slot& slot = at(id);
  const std::int32_t end = reusable(slot);
  // Those of a block that is full now; and from the first that the store lost.
  std::erase_if(slot.tails, [&](const Tail& tail) { return tail.begin / kBlockTokens != end / kBlockTokens; });
  slot.tails.erase(std::ranges::find_if(slot.tails, [&](const Tail& tail) { return !store_->will_have(tail.key); }), slot.tails.end());
  const std::int32_t begin = tails_end(slot, end);
  if (end - begin < kTailTokensMin) return false;
  return begin_part(id, slot.tails.empty() ? parent_at(slot, begin) : slot.tails.back().key, begin, end - begin, {});
}

// The name of the whole block that ends at `begin`.
BlockKey KvKeeper::parent_at(const Slot& slot, std::int32_t begin) const {
  const auto chain = chain_of(store_->fingerprint(), std::span(slot.tokens).first(static_cast<std::size_t>(begin)));
  return chain.empty() ? store_->fingerprint() : chain.back();
}

bool KvKeeper::begin_part(SequenceId id, const BlockKey& parent, std::int32_t begin, std::int32_t tokens, std::vector<BlockKey> replaces) {
  Slot& slot = at(id);
  const auto inside = std::span(slot.tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(tokens));
  const BlockKey key = child_of(parent, inside);
  if (!store_->begin(head_of(key, parent, inside), slot.keep_for, std::move(replaces))) {
    // Another conversation may have stored the same.
    if (tokens < kBlockTokens && store_->will_have(key)) slot.tails.push_back({key, begin, tokens});
    return false;
  }
  export_ = Export{id, key, begin, tokens, 0};
  return true;
}

void KvKeeper::export_piece() {
  const auto& pieces = engine_.kv_shape()->piece_token_bytes;
  std::vector<std::byte> bytes(pieces[export_->piece] * static_cast<std::size_t>(export_->tokens));
  engine_.read_kv(export_->slot, export_->piece, export_->begin, export_->tokens, bytes);
  store_->append(std::move(bytes));
  if (++export_->piece < pieces.size()) return;
  Slot& slot = at(export_->slot);
  if (export_->tokens == kBlockTokens) ++slot.blocks_looked_at;
  else slot.tails.push_back({export_->key, export_->begin, export_->tokens});
  export_.reset();
}

void KvKeeper::drop_export() {
  store_->drop();
  export_.reset();
}

// The slot is about to be used for something else, or to be cut.
void KvKeeper::finish_storing(SequenceId id, bool with_tail) {
  if (!store_) return;
  Slot& slot = at(id);
  if (with_tail && slot.tail_due) slot.tail_due = SteadyClock::now();
  const TimePoint deadline = SteadyClock::now() + kFinishStoringMax;
  while (slot.blocks_looked_at < slot.blocks_wanted || (with_tail && slot.tail_due) || (export_ && export_->slot == id)) {
    if (!export_ && (SteadyClock::now() > deadline || !begin_export())) break;
    while (export_) export_piece();
  }
}

BlockHead KvKeeper::head_of(const BlockKey& key, const BlockKey& parent, std::span<const TokenId> tokens) const {
  BlockHead head{key, parent, {tokens.begin(), tokens.end()}, {}};
  for (const std::size_t bytes : engine_.kv_shape()->piece_token_bytes) head.piece_bytes.push_back(std::uint64_t{bytes} * tokens.size());
  return head;
}

wire::KvFacts KvKeeper::facts() const {
  wire::KvFacts facts = common_facts();
  for (const Slot& slot : slots_) facts.bytes_given_back += slot.given_back.value_or(0);
  if (!store_) return facts;
  facts.store_pending = static_cast<std::uint64_t>(std::ranges::count_if(slots_, [](const Slot& slot) { return slot.blocks_looked_at < slot.blocks_wanted || slot.tail_due; }));
  return facts;
}

// ---- short of memory ----

// Not while something of it is to be stored or read again first, if it may wait for that.
std::optional<TimePoint> KvKeeper::give_back_at(SequenceId id) const {
  const Slot& slot = at(id);
  if (spare_ == Spare::nothing || slot.given_back || !is_free(id) || (export_ && export_->slot == id) || to_be_stored(slot)) return std::nullopt;
  const bool may_be_lost = spare_ == Spare::all || slot.tokens.empty();
  if (may_be_lost) return TimePoint{};
  const bool unread = careful_ && is_unread(slot);
  if (!store_ || unread || !store_->stats().problem.empty()) return std::nullopt;
  return slot.free_since + kColdAfter;
}

void KvKeeper::give_back() {
  if (spare_ == Spare::nothing) return;
  const TimePoint now = SteadyClock::now();
  std::uint64_t bytes = 0, slots = 0;
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const SequenceId id{i};
    const auto due = give_back_at(id);
    if (!due || *due > now) continue;
    spoiled(id);
    bytes += at(id).given_back.emplace(engine_.give_back_kv(id));
    ++slots;
  }
  if (slots == 0) return;
  buffer_ = {};
  return_freed_memory();
  log::info("memory: {:.1f} MB of {} free slots given back to the system", static_cast<double>(bytes) / 1e6, slots);
}

// ---- reading answers again ----

std::int32_t KvKeeper::unread_begin(const Slot& slot) { return std::min(slot.prefilled, static_cast<std::int32_t>(slot.tokens.size()) - kPrefillRowsMin); }

bool KvKeeper::is_unread(const Slot& slot) const {
  if (slot.prefilled >= std::ssize(slot.tokens) || std::ssize(slot.tokens) < kPrefillRowsMin) return false;
  // A picture cannot be read again: it left with its request.
  return std::ranges::none_of(std::span(slot.tokens).subspan(static_cast<std::size_t>(unread_begin(slot))), is_picture);
}

std::optional<SequenceId> KvKeeper::find_unread() const {
  if (!careful_ || spare_ == Spare::all) return std::nullopt;  // What is dropped anyway is not read again.
  for (std::int32_t i = 0; i < std::ssize(slots_); ++i) {
    const SequenceId id{i};
    if (is_free(id) && is_unread(at(id))) return id;
  }
  return std::nullopt;
}

std::optional<KvKeeper::Unread> KvKeeper::unread() {
  const auto id = find_unread();
  if (!id) return std::nullopt;
  Slot& slot = at(*id);
  finish_storing(*id, false);
  const std::int32_t begin = unread_begin(slot);
  Unread unread{*id, begin, {slot.tokens.begin() + begin, slot.tokens.end()}};
  cut(*id, begin);
  return unread;
}

}  // namespace pensieve
