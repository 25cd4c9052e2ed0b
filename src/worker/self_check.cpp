#include "worker/self_check.h"

#include <fmt/format.h>

#include <array>

#include "base/check.h"
#include "cache/checksum.h"
#include "worker/plan.h"

namespace pensieve {
namespace {

constexpr std::int32_t kPromptTokens = SelfCheck::kRowsMax;
constexpr std::int32_t kSaid = 3;
constexpr SelfCheck::Cuts kCuts = {0, 13, 24, kPromptTokens};  // No chunk below kPrefillRowsMin.
static_assert(kPromptTokens - kCuts[2] >= kPrefillRowsMin);
constexpr SelfCheck::Cuts kFineCuts = {0, 1, 29, kPromptTokens};  // Where rows are alone.

// Tokens all over the vocabulary, the same each time; those of another sequence are others.
TokenId token_at(const Engine& engine, std::int32_t position, bool other) {
  return static_cast<TokenId>((std::int64_t{position} * 7919 + (other ? 104729 : 1)) % engine.vocabulary().size());
}

}  // namespace

SelfCheck::SelfCheck(Engine& engine) : engine_(engine), cuts_(engine.facts().rows_alone ? kFineCuts : kCuts) {}

constexpr int kDecodes = kSaid;
const SelfCheck::Condition SelfCheck::kConditions[] = {
    {"alone", &SelfCheck::alone, 1 + kDecodes},
    {"a prompt cut elsewhere", &SelfCheck::cut, 3 + kDecodes},
    {"beside another sequence", &SelfCheck::beside, 2 + kDecodes},
    {"an answer fed again", &SelfCheck::fed_again, 3},
    {"cells that were moved", &SelfCheck::moved, 3 + kDecodes},
};

void SelfCheck::step(SequenceId first, std::optional<SequenceId> second) {
  CHECK(!done_, "the check goes on until it is done");
  first_ = first;
  second_ = second;
  if (moved_) std::swap(first_, *second_);
  begun_ = true;
  const Condition& condition = kConditions[at_];
  (this->*condition.run)(turn_);
  if (done_ || ++turn_ < condition.turns) return;
  turn_ = 0;
  if (++at_ == std::size(kConditions)) end({});
  else forget();
}

void SelfCheck::forget() {
  if (!begun_) return;
  engine_.forget(first_, 0);
  if (second_) engine_.forget(*second_, 0);
  begun_ = moved_ = false;
  turn_ = 0;
  if (at_ == 0) expected_.clear();
}

void SelfCheck::end(std::string differs) {
  forget();
  differs_ = std::move(differs);
  done_ = true;
}

bool SelfCheck::run(const std::vector<Row>& rows) {
  const Result<void> ran = engine_.step(rows);
  if (!ran) end(fmt::format("it could not be tried: {}", ran.error().message));
  return static_cast<bool>(ran);
}

void SelfCheck::compare(std::int32_t position, std::size_t row) {
  const std::uint64_t hash = checksum_64(std::as_bytes(engine_.logits(row)));
  const auto index = static_cast<std::size_t>(position - (kPromptTokens - 1));
  if (at_ == 0) expected_.push_back(hash);
  else if (expected_[index] != hash) end(fmt::format("logits differ with {}, at token {}", kConditions[at_].name, position + 1));
}

void SelfCheck::read(SequenceId sequence, std::int32_t begin, std::int32_t end) {
  std::vector<Row> rows;
  for (std::int32_t at = begin; at < end; ++at) rows.push_back({sequence, at, token_at(engine_, at, sequence != first_), sequence == first_ && at + 1 == kPromptTokens});
  if (run(rows) && rows.back().wants_logits) compare(end - 1, rows.size() - 1);
}

// In the order of their slots, as decode steps are: the engine runs such sequences in one pass.
void SelfCheck::decode(std::int32_t position, bool with_other) {
  std::vector<Row> rows{{first_, position, token_at(engine_, position, false), true}};
  std::size_t own = 0;
  if (with_other) {
    own = *second_ < first_ ? 1 : 0;
    rows.insert(rows.begin() + static_cast<std::ptrdiff_t>(1 - own), {*second_, position - kPromptTokens + cuts_[1], token_at(engine_, position, true), true});
  }
  if (run(rows)) compare(position, own);
}

void SelfCheck::alone(int turn) {
  if (turn == 0) read(first_, 0, kPromptTokens);
  else decode(kPromptTokens + turn - 1, false);
}

void SelfCheck::cut(int turn) {
  const auto chunk = static_cast<std::size_t>(turn);
  if (turn < 3) read(first_, cuts_[chunk], cuts_[chunk + 1]);
  else decode(kPromptTokens + turn - 3, false);
}

void SelfCheck::beside(int turn) {
  if (!second_) return;
  if (turn == 0) read(*second_, 0, cuts_[1]);
  else if (turn == 1) read(first_, 0, kPromptTokens);
  else decode(kPromptTokens + turn - 2, true);
}

void SelfCheck::fed_again(int turn) {
  if (turn == 0) return read(first_, 0, kPromptTokens);
  if (turn == 2) return decode(kPromptTokens + kSaid - 1, false);
  std::vector<Row> rows;
  for (std::int32_t at = kPromptTokens; at + 1 < kPromptTokens + kSaid; ++at) rows.push_back({first_, at, token_at(engine_, at, false), false});
  run(rows);
}

void SelfCheck::moved(int turn) {
  if (turn == 0) return read(first_, 0, cuts_[2]);
  if (turn > 1) return turn == 2 ? read(first_, cuts_[2], kPromptTokens) : decode(kPromptTokens + turn - 3, false);
  if (engine_.kv_shape() == nullptr) return move_state();
  const std::vector<std::size_t>& pieces = engine_.kv_shape()->piece_token_bytes;
  std::vector<std::vector<std::byte>> cells;
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
    cells.emplace_back(pieces[piece] * static_cast<std::size_t>(cuts_[2]));
    engine_.read_kv(first_, piece, 0, cuts_[2], cells.back());
  }
  change_places();
  std::vector<TokenId> tokens;
  for (std::int32_t at = 0; at < cuts_[2]; ++at) tokens.push_back(token_at(engine_, at, false));
  if (const Result<void> claimed = engine_.claim_kv(first_, tokens); !claimed) return end(fmt::format("it could not be tried: {}", claimed.error().message));
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) engine_.write_kv(first_, piece, 0, cuts_[2], cells[piece], cuts_[2]);
}

void SelfCheck::move_state() {
  std::vector<std::byte> state(engine_.state_bytes(first_));
  Result<void> done = engine_.save_state(first_, state);
  change_places();
  if (done) done = engine_.load_state(first_, state);
  if (!done) end(fmt::format("it could not be tried: {}", done.error().message));
}

void SelfCheck::change_places() {
  engine_.forget(first_, 0);
  moved_ = second_.has_value();
  if (moved_) std::swap(first_, *second_);
}

}  // namespace pensieve
