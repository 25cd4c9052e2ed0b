#include "worker/step_loop.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/plan.h"

namespace pensieve {

struct StepLoop::Sequence {
  Sequence(GenerateRequest from, SequenceId in_slot, std::unique_ptr<Sampler> with, const ChatTemplate& chat, const Vocabulary& vocabulary)
      : request(std::move(from)), slot(in_slot), sampler(std::move(with)), answer(chat, vocabulary, request) {}

  bool prefilling() const { return position < prompt_tokens(); }
  std::int32_t prompt_tokens() const { return static_cast<std::int32_t>(request.prompt.tokens.size()); }

  GenerateRequest request;
  SequenceId slot;
  std::unique_ptr<Sampler> sampler;
  AnswerReader answer;
  std::int32_t position = 0;        // Tokens in the KV cache.
  TokenId next = 0;                 // Sampled, not yet run. Meaningful once the prompt is read.
  std::int32_t output_tokens = 0;
  std::vector<TokenId> unreported;  // Sampled, what they say still held back.
  std::int64_t prefill_us = 0;
  std::int64_t decode_us = 0;
  bool paused = false;
  bool finished = false;
};

StepLoop::StepLoop(Engine& engine, const ChatTemplate& chat, Inbox& inbox, Progress& progress, WirePort& port)
    : engine_(engine), chat_(chat), inbox_(inbox), progress_(progress), port_(port) {
  for (std::int32_t slot = engine.facts().slots - 1; slot >= 0; --slot) free_slots_.push_back(SequenceId{slot});
}

StepLoop::~StepLoop() = default;

void StepLoop::run() {
  bool prefill_next = true;
  while (true) {
    const bool work = any_prefilling() || any_decoding();
    if (!work && running_.empty() && waiting_.empty() && input_ended_) return;
    const bool someone_can_enter = !waiting_.empty() && !free_slots_.empty();
    for (Order& order : inbox_.take(!work && !someone_can_enter)) {
      if (!handle(std::move(order))) return;
    }
    admit_waiting();
    // Take turns: a prompt is read between two tokens of the others, never instead of them.
    const bool prefill = any_prefilling() && (prefill_next || !any_decoding());
    if (prefill) prefill_step();
    else if (any_decoding()) decode_step();
    prefill_next = !prefill;
    drop_finished();
  }
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
  if (std::holds_alternative<EndOfInput>(order)) {
    input_ended_ = true;
    return true;
  }
  for (const auto& sequence : running_) finish(*sequence, FinishReason::cancelled);
  return false;
}

void StepLoop::admit_waiting() {
  while (!waiting_.empty() && !free_slots_.empty()) {
    GenerateRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    auto sampler = engine_.make_sampler(request.sampling, request.grammar ? &*request.grammar : nullptr);
    if (!sampler) {
      fail(request.id, std::move(sampler).error());
      continue;
    }
    const SequenceId slot = free_slots_.back();
    free_slots_.pop_back();
    engine_.forget(slot, 0);
    auto sequence = std::make_unique<Sequence>(std::move(request), slot, *std::move(sampler), chat_, engine_.vocabulary());
    port_.send(wire::Event{sequence->request.id, Started{sequence->prompt_tokens(), 0}});
    running_.push_back(std::move(sequence));
  }
  progress_.running = static_cast<std::int32_t>(running_.size());
  progress_.waiting = static_cast<std::int32_t>(waiting_.size());
}

void StepLoop::prefill_step() {
  const auto chosen = std::ranges::find_if(running_, [](const auto& s) { return s->prefilling() && !s->paused; });
  Sequence& sequence = **chosen;
  const std::int32_t chunk = prefill_chunk(prefill_rate_, kPrefillBudget, engine_.facts().step_rows_max, any_decoding());
  const std::int32_t end = prefill_chunk_end(sequence.position, sequence.prompt_tokens(), chunk);
  rows_.clear();
  for (std::int32_t at = sequence.position; at < end; ++at) {
    rows_.push_back({sequence.slot, at, sequence.request.prompt.tokens[static_cast<std::size_t>(at)], at + 1 == sequence.prompt_tokens()});
  }
  const TimePoint begun = SteadyClock::now();
  const Result<void> done = engine_.step(rows_);
  const auto took = SteadyClock::now() - begun;
  ++progress_.steps;
  if (!done) {
    sequence.finished = true;
    return fail(sequence.request.id, done.error());
  }
  const double rate = static_cast<double>(rows_.size()) / std::max(seconds(took), 1e-6);
  prefill_rate_ = prefill_rate_ == 0 ? rate : 0.7 * prefill_rate_ + 0.3 * rate;
  sequence.prefill_us += std::chrono::duration_cast<std::chrono::microseconds>(took).count();
  sequence.position = end;
  if (sequence.prefilling()) {
    port_.send(wire::Event{sequence.request.id, Prefilled{end, sequence.prompt_tokens()}});
  } else if (sequence.request.max_tokens == 0) {
    finish(sequence, FinishReason::max_tokens);  // Only the prompt was to be read.
  } else {
    sample_and_report(sequence, rows_.size() - 1);
  }
}

void StepLoop::decode_step() {
  std::vector<Sequence*> ready;
  for (const auto& sequence : running_) {
    if (!sequence->prefilling() && !sequence->paused) ready.push_back(sequence.get());
  }
  // More than one step holds take turns, so that none is starved.
  const std::size_t count = std::min<std::size_t>(ready.size(), kDecodeRowsMax);
  decode_turn_ %= ready.size();
  std::ranges::rotate(ready, ready.begin() + static_cast<std::ptrdiff_t>(ready.size() > count ? decode_turn_ : 0));
  decode_turn_ += count;
  ready.resize(count);

  rows_.clear();
  for (const Sequence* sequence : ready) rows_.push_back({sequence->slot, sequence->position, sequence->next, true});
  const TimePoint begun = SteadyClock::now();
  const Result<void> done = engine_.step(rows_);
  const auto took_us = std::chrono::duration_cast<std::chrono::microseconds>(SteadyClock::now() - begun).count();
  ++progress_.steps;
  for (std::size_t row = 0; row < ready.size(); ++row) {
    Sequence& sequence = *ready[row];
    if (!done) {
      sequence.finished = true;
      fail(sequence.request.id, done.error());
      continue;
    }
    ++sequence.position;
    sequence.decode_us += took_us;
    sample_and_report(sequence, row);
  }
}

void StepLoop::sample_and_report(Sequence& sequence, std::size_t row) {
  const TokenId token = sequence.sampler->sample(engine_.logits(row));
  const std::int64_t sampled_us = monotonic_us();
  sequence.sampler->accept(token);
  sequence.next = token;
  ++sequence.output_tokens;
  sequence.unreported.push_back(token);
  if (engine_.vocabulary().ends_turn(token)) return finish(sequence, FinishReason::end_turn);

  report_all(sequence, sequence.answer.push(token), sampled_us);
  if (!sequence.answer.stopped_by().empty()) return finish(sequence, FinishReason::stop_sequence);
  if (sequence.answer.turn_is_over()) return finish(sequence, FinishReason::tool_use);
  if (sequence.output_tokens >= sequence.request.max_tokens) return finish(sequence, FinishReason::max_tokens);
  if (sequence.position >= engine_.facts().context_tokens) return finish(sequence, FinishReason::model_context_window_exceeded);
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
    port_.send(wire::Event{sequence.request.id, std::move(event)});
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
  Finished finished;
  finished.reason = reason;
  finished.stop_sequence = sequence.answer.stopped_by();
  finished.usage = {sequence.prompt_tokens(), 0, sequence.output_tokens};
  finished.tokens = std::move(sequence.unreported);
  finished.prefill_us = sequence.prefill_us;
  finished.decode_us = sequence.decode_us;
  port_.send(wire::Event{sequence.request.id, std::move(finished)});
}

void StepLoop::fail(RequestId id, Error error) {
  log::warn("request {} failed: {}", static_cast<std::uint64_t>(id), error.message);
  port_.send(wire::Event{id, Failed{std::move(error)}});
}

void StepLoop::drop_finished() {
  for (const auto& sequence : running_) {
    if (!sequence->finished) continue;
    engine_.forget(sequence->slot, 0);
    free_slots_.push_back(sequence->slot);
  }
  std::erase_if(running_, [](const auto& sequence) { return sequence->finished; });
  progress_.running = static_cast<std::int32_t>(running_.size());
}

StepLoop::Sequence* StepLoop::find(RequestId id) {
  const auto found = std::ranges::find_if(running_, [&](const auto& sequence) { return sequence->request.id == id; });
  return found == running_.end() ? nullptr : found->get();
}

bool StepLoop::any_prefilling() const {
  return std::ranges::any_of(running_, [](const auto& sequence) { return sequence->prefilling() && !sequence->paused; });
}

bool StepLoop::any_decoding() const {
  return std::ranges::any_of(running_, [](const auto& sequence) { return !sequence->prefilling() && !sequence->paused; });
}

}  // namespace pensieve
