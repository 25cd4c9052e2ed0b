#include "worker/step_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "cache/checksum.h"
#include "core/picture_token.h"
#include "worker/plan.h"

namespace pensieve {

namespace {

constexpr std::chrono::milliseconds kIdleStoring{5};    // How long storing keeps a new request waiting.
constexpr std::chrono::milliseconds kStoreWait{5};      // The writer is behind: let it catch up.
constexpr std::int32_t kWorthWaiting = 64;              // Tokens that would be copied, not computed.
constexpr std::chrono::minutes kNoRest{10};             // Beyond that nothing will be due.
constexpr std::chrono::seconds kLastStoring{1};         // What is not stored then is lost with this process.
constexpr std::chrono::seconds kQuiet{1};               // A worker is often started for a request that follows at once: the self-check
                                                        // begins after such a time without one,
constexpr int kQuietSteps = 4;                          // and goes on after the time of so many of its steps: a request that comes in the
                                                        // midst of one waits no longer than a quarter of the pause that was.

}  // namespace

StepLoop::StepLoop(Engine& engine, const ChatTemplate& chat, Inbox& inbox, Progress& progress, WirePort& port, AnswerMemory& answers, std::unique_ptr<BlockStore> store, bool exact, bool exact_tried)
    : engine_(engine), chat_(chat), inbox_(inbox), progress_(progress), port_(port), answers_(answers), keeper_(make_slot_keeper(engine, std::move(store), exact)) {
  if (exact && exact_tried) differs_ = "";
  else if (exact) check_.emplace(engine);
  publish();
}

StepLoop::~StepLoop() = default;

void StepLoop::run() {
  bool enter_next = true;
  bool stopping = false;
  while (!stopping) {
    const bool work = any_entering() || any_decoding();
    const bool behind = keeper_->has_work() || rereading_ || keeper_->has_unread() || check_is_due();
    if (!work && !behind && running_.empty() && waiting_.empty() && input_ended_) break;
    const bool someone_can_enter = !waiting_.empty() && keeper_->any_free();
    const bool nothing_to_do = !work && !behind && !someone_can_enter;
    const auto rest = std::min(keeper_->next_work_in(), check_due_in());
    if (nothing_to_do && rest < kNoRest) inbox_.wait(rest);
    for (Order& order : inbox_.take(nothing_to_do && rest >= kNoRest)) {
      stopping = stopping || !handle(std::move(order));
    }
    if (stopping) break;
    admit_waiting();
    const bool quiet = running_.empty() && waiting_.empty();
    // Take turns: a prompt is read between two tokens of the others, never instead of them. Streams that all were
    // interrupted go on together: the last of them would wait longest.
    const bool beside = any_decoding();
    const bool enter = any_entering() && (enter_next || !beside || any_resuming());
    const TimePoint begun = SteadyClock::now();
    read_rows_ = decoded_rows_ = 0;
    if (enter) entering_step();
    else if (beside) decode_step();
    else if (behind && !idle_step()) inbox_.wait(kStoreWait);
    enter_next = !enter;
    if (any_decoding()) keeper_->work(last_step_ / kStoringShare);
    else if (read_rows_ > 0) keeper_->work(last_step_ / kStoringShareAlone);
    drop_finished();
    if (!quiet) quiet_since_ = SteadyClock::now();
    if (!rereading_) keeper_->give_back();
    // With all that belongs to a step, so that a forecast made of it is right.
    if (read_rows_ > 0) pace_.read(read_rows_, beside, SteadyClock::now() - begun);
    if (decoded_rows_ > 0) pace_.decoded(decoded_rows_, SteadyClock::now() - begun);
    publish();
  }
  drop_finished();
  keeper_->hurry();
  const TimePoint deadline = SteadyClock::now() + kLastStoring;
  while (keeper_->has_work() && SteadyClock::now() < deadline) keeper_->work(kIdleStoring);
  keeper_->flush(deadline);
}

bool StepLoop::handle(Order order) {
  if (auto* generate = std::get_if<wire::Generate>(&order)) {
    waiting_.push_back(std::move(generate->request));
    return true;
  }
  if (auto* cancel = std::get_if<wire::Cancel>(&order)) {
    if (Sequence* sequence = find(cancel->id)) finish(*sequence, FinishReason::cancelled);
    const auto line = std::ranges::find(waiting_, cancel->id, &GenerateRequest::id);
    if (line != waiting_.end()) {
      waiting_.erase(line);
      port_.send(wire::Event{cancel->id, Finished{FinishReason::cancelled, "", {}, {}, 0, 0}});
    }
    drop_finished();
    return true;
  }
  if (auto* pause = std::get_if<wire::Pause>(&order)) {
    if (Sequence* sequence = find(pause->id)) sequence->paused = true;
    return true;
  }
  if (auto* resume = std::get_if<wire::Resume>(&order)) {
    if (Sequence* sequence = find(resume->id)) sequence->paused = false;
    return true;
  }
  if (const auto* memory = std::get_if<wire::Memory>(&order)) {
    const bool short_of_it = memory->level == "critical" || memory->level == "emergency";
    if (short_of_it) rereading_.reset();
    if (check_) check_->forget();
    keeper_->spare(short_of_it ? SlotKeeper::Spare::all : memory->level == "safe" ? SlotKeeper::Spare::nothing : SlotKeeper::Spare::cold);
    return true;
  }
  if (std::holds_alternative<EndOfInput>(order)) {
    input_ended_ = true;
    keeper_->hurry();
    return true;
  }
  for (const auto& sequence : running_) finish(*sequence, FinishReason::cancelled);
  return false;
}

void StepLoop::admit_waiting() {
  while (!waiting_.empty() && !will_share(waiting_.front())) {
    if (keeper_->any_free()) rereading_.reset();  // What was reread so far stays; its slot may be taken now.
    if (check_) check_->forget();
    const GenerateRequest& first = waiting_.front();
    // What was said before a death may lie in the store, too, where it can be used.
    std::vector<TokenId> with_said;
    if (!first.said.empty() && engine_.kv_shape() != nullptr && engine_.facts().rows_alone) {
      with_said = first.prompt.tokens;
      with_said.insert(with_said.end(), first.said.begin(), first.said.end());
    }
    const auto slot = keeper_->take_slot(with_said.empty() ? first.prompt.tokens : with_said, std::chrono::seconds(first.keep_seconds), first.marks);
    if (!slot) return;
    GenerateRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    begin(std::move(request), *slot);
  }
}

// Whether a prompt that is being read now begins as this one does, and what they share is not read yet. Prompts are
// read one after the other, so waiting for it costs nothing, and then there is something to copy.
bool StepLoop::will_share(const GenerateRequest& request) const {
  if (engine_.kv_shape() == nullptr) return false;
  const std::vector<TokenId>& prompt = request.prompt.tokens;
  return std::ranges::any_of(running_, [&](const auto& other) {
    if (other->decoding() || other->paused || other->finished) return false;
    const std::vector<TokenId>& theirs = other->request.prompt.tokens;
    const auto common = static_cast<std::int32_t>(std::ranges::mismatch(theirs, prompt).in1 - theirs.begin());
    return common >= other->position + kWorthWaiting;
  });
}

void StepLoop::begin(GenerateRequest request, SequenceId slot) {
  auto sampler = engine_.make_sampler(request.sampling, request.grammar ? &*request.grammar : nullptr);
  if (!sampler) {
    keeper_->release(slot);
    return fail(request.id, std::move(sampler).error());
  }
  auto sequence = std::make_unique<Sequence>(std::move(request), slot, *std::move(sampler), chat_, engine_.vocabulary());
  sequence->restoring = keeper_->restoring(slot);
  if (!sequence->restoring) restored(*sequence);
  running_.push_back(std::move(sequence));
}

// Its slot holds what could be had without computing.
void StepLoop::restored(Sequence& sequence) {
  sequence.restoring = false;
  sequence.position = keeper_->held(sequence.slot);
  sequence.cached_tokens = std::min(sequence.position, sequence.prompt_tokens());
  if (sequence.request.keep_seconds > 0) sequence.kept_tokens = std::max(0, keeper_->kept(sequence.slot, sequence.prompt_tokens()) - sequence.cached_tokens);
  port_.send(wire::Event{sequence.request.id, Started{sequence.prompt_tokens(), sequence.cached_tokens, sequence.kept_tokens}});
  sequence.events_to_skip = sequence.request.events_to_skip;
  if (!sequence.request.said.empty()) replay(sequence);
}

// Sampler, text and stop sequences are brought to where the worker before left them.
// Of what the last token makes, a part may not have been reported any more.
void StepLoop::replay(Sequence& sequence) {
  const std::vector<TokenId>& said = sequence.request.said;
  for (std::size_t i = 0; i < said.size() && !sequence.finished; ++i) {
    sequence.replaying = i + 1 < said.size();
    sequence.sampler->accept(said[i]);
    take_in(sequence, said[i], monotonic_us());
  }
  sequence.replaying = false;
  sequence.events_to_skip = 0;
  sequence.unreported.clear();
}

void StepLoop::entering_step() {
  const auto chosen = std::ranges::find_if(running_, [](const auto& s) { return s->runs() && !s->decoding(); });
  Sequence& sequence = **chosen;
  if (sequence.restoring) {
    restore_step(sequence);
  } else if (sequence.prefilling()) {
    prefill_step(sequence);
  } else {
    refeed_step(sequence);
  }
}

void StepLoop::restore_step(Sequence& sequence) {
  const TimePoint deadline = SteadyClock::now() + kPrefillBudget;
  do {
    keeper_->restore_some(sequence.slot);
    ++progress_.steps;
  } while (keeper_->restoring(sequence.slot) && SteadyClock::now() < deadline);
  if (!keeper_->restoring(sequence.slot)) restored(sequence);
}

// Runs rows_, which all belong to `sequence`. False: it failed, and the sequence with it.
bool StepLoop::run_rows(Sequence& sequence, bool as_prefill) {
  const TimePoint begun = SteadyClock::now();
  const Result<void> done = engine_.step(rows_);
  last_step_ = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
  ++progress_.steps;
  if (!done) {
    keeper_->spoiled(sequence.slot);
    sequence.finished = true;
    fail(sequence.request.id, done.error());
    return false;
  }
  std::vector<TokenId> tokens;
  for (const Row& row : rows_) tokens.push_back(row.token);
  keeper_->ran(sequence.slot, tokens, as_prefill);
  sequence.position += static_cast<std::int32_t>(rows_.size());
  sequence.prefill_us += last_step_.count();
  return true;
}

void StepLoop::prefill_step(Sequence& sequence) {
  const std::vector<TokenId>& prompt = sequence.request.prompt.tokens;
  if (is_picture(prompt[static_cast<std::size_t>(sequence.position)])) return picture_step(sequence);
  const std::int32_t chunk = prefill_chunk(prefill_rate_, kPrefillBudget, engine_.facts().step_rows_max, any_decoding());
  const std::int32_t segment = segment_end(prompt, sequence.position);
  const std::int32_t end = keeper_->chunk_end(sequence.slot, prefill_chunk_end(sequence.position, segment, chunk));
  // Between two pictures a short one is always run whole, by the same kernel.
  const bool between = end == segment && segment < sequence.prompt_tokens() && (sequence.position == 0 || is_picture(prompt[static_cast<std::size_t>(sequence.position) - 1]));
  const bool resumes = !sequence.request.said.empty();
  rows_.clear();
  for (std::int32_t at = sequence.position; at < end; ++at) {
    const bool last = at + 1 == sequence.prompt_tokens();
    rows_.push_back({sequence.slot, at, sequence.request.prompt.tokens[static_cast<std::size_t>(at)], last && !resumes});
  }
  if (!run_rows(sequence, between || std::ssize(rows_) >= kPrefillRowsMin)) return;
  read_rows_ = rows_.size();
  const double rate = static_cast<double>(rows_.size()) / std::max(seconds(last_step_), 1e-6);
  prefill_rate_ = prefill_rate_ == 0 ? rate : 0.7 * prefill_rate_ + 0.3 * rate;
  keeper_->note_prefill_rate(prefill_rate_);
  if (sequence.prefilling()) {
    port_.send(wire::Event{sequence.request.id, Prefilled{end, sequence.prompt_tokens()}});
    return;
  }
  sequence.request.prompt.images = {};
  keeper_->prompt_read(sequence.slot);
  if (sequence.request.max_tokens == 0) {
    finish(sequence, FinishReason::max_tokens);  // Only the prompt was to be read.
  } else if (!resumes) {
    sample_and_report(sequence, rows_.size() - 1);
  }
}

// A picture, or a part of one, whole: some models let its rows see each other. It is long for a step; the engine's
// pulse goes on in it.
void StepLoop::picture_step(Sequence& sequence) {
  const auto& pictures = sequence.request.pictures;
  const auto picture = std::ranges::find(pictures, sequence.position, &PictureRows::begin);
  CHECK(picture != pictures.end(), "a prompt's pictures are known, and a step begins where one does");
  const TimePoint begun = SteadyClock::now();
  const Result<void> seen = engine_.see(sequence.slot, sequence.position, sequence.request.prompt.images[static_cast<std::size_t>(picture->image)], picture->part);
  last_step_ = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
  ++progress_.steps;
  if (!seen) {
    keeper_->spoiled(sequence.slot);
    sequence.finished = true;
    return fail(sequence.request.id, seen.error());
  }
  const auto rows = std::span(sequence.request.prompt.tokens).subspan(static_cast<std::size_t>(picture->begin), static_cast<std::size_t>(picture->end - picture->begin));
  keeper_->ran(sequence.slot, rows, true);
  sequence.position = picture->end;
  sequence.prefill_us += last_step_.count();
  port_.send(wire::Event{sequence.request.id, Prefilled{sequence.position, sequence.prompt_tokens()}});
}

// What was said before, by the same kernel that ran it then: fewer than 8 rows a step, unless rows are alone.
void StepLoop::refeed_step(Sequence& sequence) {
  rows_.clear();
  const std::int32_t most = engine_.facts().rows_alone ? prefill_chunk(prefill_rate_, kPrefillBudget, engine_.facts().step_rows_max, any_decoding()) : kDecodeRowsMax;
  const std::int32_t end = std::min(sequence.position + most, sequence.refeed_end());
  for (std::int32_t at = sequence.position; at < end; ++at) {
    rows_.push_back({sequence.slot, at, sequence.request.said[static_cast<std::size_t>(at - sequence.prompt_tokens())], false});
  }
  run_rows(sequence, false);
}

// Nobody waits for a token: store what is not stored yet, try once what exact mode promises, then read answers again.
// False: there was nothing that could be done just now.
bool StepLoop::idle_step() {
  if (keeper_->has_work() && !keeper_->store_is_behind()) {
    keeper_->work(kIdleStoring);
    return true;
  }
  if (check_is_due()) {
    check_step();
    return true;
  }
  if (!rereading_) rereading_ = keeper_->unread();
  if (!rereading_) return false;
  reread_step();
  return true;
}

void StepLoop::reread_step() {
  SlotKeeper::Unread& unread = *rereading_;
  const std::int32_t begin = keeper_->held(unread.slot);
  const std::int32_t total = unread.begin + static_cast<std::int32_t>(unread.tokens.size());
  const std::int32_t chunk = prefill_chunk(prefill_rate_, kPrefillBudget, engine_.facts().step_rows_max, true);
  const std::int32_t end = keeper_->chunk_end(unread.slot, prefill_chunk_end(begin, total, chunk));
  rows_.clear();
  for (std::int32_t at = begin; at < end; ++at) rows_.push_back({unread.slot, at, unread.tokens[static_cast<std::size_t>(at - unread.begin)], false});
  if (const Result<void> done = engine_.step(rows_); !done) {
    log::warn("reading an answer again failed: {}", done.error().message);
    keeper_->spoiled(unread.slot);
    rereading_.reset();
    return;
  }
  ++progress_.steps;
  keeper_->ran(unread.slot, std::span(unread.tokens).subspan(static_cast<std::size_t>(begin - unread.begin), rows_.size()), true);
  if (end < total) return;
  keeper_->reread_done(unread.slot);
  rereading_.reset();
}

bool StepLoop::check_may_run() const {
  if (!check_ || !running_.empty() || !waiting_.empty() || input_ended_ || rereading_) return false;
  return check_->underway() || std::ssize(keeper_->spare_slots()) >= std::min(2, engine_.facts().slots);
}

std::chrono::milliseconds StepLoop::check_due_in() const {
  if (!check_may_run()) return kNoRest;
  std::chrono::microseconds longest = check_step_max_;
  if (longest.count() == 0 && prefill_rate_ > 0) longest = std::chrono::microseconds(std::lround(1e6 * SelfCheck::kRowsMax / prefill_rate_));  // Its first step.
  return std::chrono::ceil<std::chrono::milliseconds>(std::max<SteadyClock::duration>(quiet_since_ + std::max<SteadyClock::duration>(kQuiet, kQuietSteps * longest) - SteadyClock::now(), {}));
}

bool StepLoop::check_is_due() const { return check_due_in() == std::chrono::milliseconds(0); }

void StepLoop::check_step() {
  if (!check_->underway()) {
    check_slots_ = keeper_->spare_slots();
    check_slots_.resize(static_cast<std::size_t>(std::min(2, engine_.facts().slots)));
    for (const SequenceId slot : check_slots_) keeper_->spoiled(slot);  // What it held is stored.
  }
  const TimePoint begun = SteadyClock::now();
  check_->step(check_slots_.front(), check_slots_.size() > 1 ? std::optional(check_slots_.back()) : std::nullopt);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
  check_time_ += took;
  check_step_max_ = std::max(check_step_max_, took);
  ++progress_.steps;
  if (!check_->done()) return;
  differs_ = check_->differs();
  check_.reset();
  if (differs_->empty()) log::info("exact: the same logits cut, beside another, fed again and moved (tried in {} ms)", check_time_.count() / 1000);
  else log::warn("exact: not on this machine with this model: {}; answers may differ in the last bits by how they were computed", *differs_);
}

void StepLoop::decode_step() {
  std::vector<Sequence*> ready;
  for (const auto& sequence : running_) {
    if (sequence->runs() && sequence->decoding()) ready.push_back(sequence.get());
  }
  // More than one step holds take turns, so that none is starved.
  const std::size_t count = std::min<std::size_t>(ready.size(), kDecodeRowsMax);
  decode_turn_ %= ready.size();
  std::ranges::rotate(ready, ready.begin() + static_cast<std::ptrdiff_t>(ready.size() > count ? decode_turn_ : 0));
  decode_turn_ += count;
  ready.resize(count);
  // The engine runs sequences together whose numbers follow each other, and the others in a pass of their own.
  std::ranges::sort(ready, {}, [](const Sequence* sequence) { return sequence->slot; });

  rows_.clear();
  for (const Sequence* sequence : ready) rows_.push_back({sequence->slot, sequence->position, sequence->next, true});
  const TimePoint begun = SteadyClock::now();
  const Result<void> done = engine_.step(rows_);
  last_step_ = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun);
  ++progress_.steps;
  decoded_rows_ = rows_.size();
  for (std::size_t row = 0; row < ready.size(); ++row) {
    Sequence& sequence = *ready[row];
    if (!done) {
      keeper_->spoiled(sequence.slot);
      sequence.finished = true;
      fail(sequence.request.id, done.error());
      continue;
    }
    keeper_->ran(sequence.slot, std::span(&sequence.next, 1), false);
    ++sequence.position;
    sequence.decode_us += last_step_.count();
    sample_and_report(sequence, row);
  }
}

void StepLoop::sample_and_report(Sequence& sequence, std::size_t row) {
  if (sequence.request.hash_logits) sequence.logit_hashes.push_back(checksum_64(std::as_bytes(engine_.logits(row))));
  const std::optional<TokenId> due = sequence.budget.next();
  const TokenId token = due ? *due : sequence.sampler->sample(engine_.logits(row));
  const std::int64_t sampled_us = monotonic_us();
  sequence.sampler->accept(token);
  take_in(sequence, token, sampled_us);
}

// A token of the answer, sampled now or replayed: text, stop sequences, limits.
void StepLoop::take_in(Sequence& sequence, TokenId token, std::int64_t sampled_us) {
  sequence.next = token;
  ++sequence.output_tokens;
  sequence.unreported.push_back(token);
  sequence.sampled.push_back(token);
  if (engine_.vocabulary().ends_turn(token)) return finish(sequence, FinishReason::end_turn);

  report_all(sequence, sequence.answer.push(token), sampled_us);
  sequence.budget.took(token, sequence.answer.thinking());
  if (!sequence.answer.stopped_by().empty()) return finish(sequence, FinishReason::stop_sequence);
  if (sequence.answer.turn_is_over()) return finish(sequence, FinishReason::tool_use);
  if (sequence.output_tokens >= sequence.request.max_tokens) return finish(sequence, FinishReason::max_tokens);
  if (sequence.prompt_tokens() + sequence.output_tokens > engine_.facts().context_tokens) return finish(sequence, FinishReason::model_context_window_exceeded);
}

void StepLoop::report(Sequence& sequence, StreamEvent event) {
  if (sequence.replaying) return;
  if (sequence.events_to_skip > 0) {
    --sequence.events_to_skip;
    return;
  }
  port_.send(wire::Event{sequence.request.id, std::move(event)});
}

// What a token meant. Its id goes with the first event, as do those before it that meant nothing yet.
void StepLoop::report_all(Sequence& sequence, std::vector<StreamEvent> events, std::int64_t sampled_us) {
  for (StreamEvent& event : events) {
    std::visit(
        [&](auto& made) {
          if constexpr (requires { made.sampled_us; }) {
            made.tokens = std::exchange(sequence.unreported, {});
            made.sampled_us = sampled_us;
          }
        },
        event);
    report(sequence, std::move(event));
  }
}

void StepLoop::finish(Sequence& sequence, FinishReason reason) {
  if (sequence.finished) return;
  sequence.finished = true;
  if (reason != FinishReason::cancelled) {
    report_all(sequence, sequence.answer.finish(reason == FinishReason::end_turn), monotonic_us());
    // What was held back may have held a stop sequence, or a call.
    if (reason == FinishReason::end_turn && !sequence.answer.stopped_by().empty()) reason = FinishReason::stop_sequence;
    else if (reason == FinishReason::end_turn && sequence.answer.called()) reason = FinishReason::tool_use;
  }
  // With a stop sequence the client was told less than was sampled.
  if (reason != FinishReason::stop_sequence) answers_.keep(sequence.request.origin, sequence.request.opening, std::move(sequence.sampled));
  Finished finished;
  finished.reason = reason;
  finished.stop_sequence = sequence.answer.stopped_by();
  finished.usage = {sequence.prompt_tokens(), sequence.cached_tokens, sequence.output_tokens, sequence.kept_tokens};
  finished.tokens = std::move(sequence.unreported);
  finished.logit_hashes = std::move(sequence.logit_hashes);
  finished.prefill_us = sequence.prefill_us;
  finished.decode_us = sequence.decode_us;
  finished.violation = sequence.answer.violation();
  if (!finished.violation.empty()) log::warn("request {}: not as its schema wants: {}", static_cast<std::uint64_t>(sequence.request.id), finished.violation);
  port_.send(wire::Event{sequence.request.id, std::move(finished)});
}

void StepLoop::fail(RequestId id, Error error) {
  log::warn("request {} failed: {}", static_cast<std::uint64_t>(id), error.message);
  port_.send(wire::Event{id, Failed{std::move(error)}});
}

void StepLoop::drop_finished() {
  for (const auto& sequence : running_) {
    if (sequence->finished) keeper_->release(sequence->slot);
  }
  std::erase_if(running_, [](const auto& sequence) { return sequence->finished; });
}

void StepLoop::publish() {
  progress_.running = static_cast<std::int32_t>(running_.size());
  progress_.waiting = static_cast<std::int32_t>(waiting_.size());
  wire::KvFacts facts = keeper_->facts();
  facts.exact_tried = differs_.has_value();
  facts.exact_differs = differs_.value_or("");
  progress_.publish(std::move(facts), pace_.pace());
}

Sequence* StepLoop::find(RequestId id) {
  const auto found = std::ranges::find_if(running_, [&](const auto& sequence) { return sequence->request.id == id; });
  return found == running_.end() ? nullptr : found->get();
}

bool StepLoop::any_entering() const {
  return std::ranges::any_of(running_, [](const auto& sequence) { return sequence->runs() && !sequence->decoding(); });
}

bool StepLoop::any_resuming() const {
  return std::ranges::any_of(running_, [](const auto& sequence) { return sequence->runs() && !sequence->decoding() && !sequence->request.said.empty(); });
}

bool StepLoop::any_decoding() const {
  return std::ranges::any_of(running_, [](const auto& sequence) { return sequence->runs() && sequence->decoding(); });
}

}  // namespace pensieve
