#include "worker/embed_loop.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "core/unit_vector.h"

namespace pensieve {

EmbedLoop::Running::Running(EmbedRequest of) : request(std::move(of)), next(static_cast<std::size_t>(request.done)) {
  for (std::size_t i = 0; i < request.inputs.size(); ++i) {
    const auto tokens = static_cast<std::int32_t>(request.inputs[i].tokens.size());
    total_tokens += tokens;
    if (i < next) done_tokens += tokens;
  }
}

void EmbedLoop::run() {
  while (true) {
    const auto due = [this] { return std::ranges::find(running_, false, &Running::paused); };
    if (running_.empty() && input_ended_) return;
    for (Order& order : inbox_.take(due() == running_.end())) {
      if (!handle(std::move(order))) return;
    }
    if (const auto chosen = due(); chosen != running_.end()) step(*chosen);
    publish();
  }
}

bool EmbedLoop::handle(Order order) {
  if (auto* embed = std::get_if<wire::Embed>(&order)) {
    running_.emplace_back(std::move(embed->request));
  } else if (const auto* cancel = std::get_if<wire::Cancel>(&order)) {
    if (const auto one = find(cancel->id); one != running_.end()) finish(*one, FinishReason::cancelled);
  } else if (const auto* pause = std::get_if<wire::Pause>(&order)) {
    if (const auto one = find(pause->id); one != running_.end()) one->paused = true;
  } else if (const auto* resume = std::get_if<wire::Resume>(&order)) {
    if (const auto one = find(resume->id); one != running_.end()) one->paused = false;
  } else if (std::holds_alternative<EndOfInput>(order)) {
    input_ended_ = true;
  } else if (std::holds_alternative<wire::Shutdown>(order)) {
    while (!running_.empty()) finish(running_.front(), FinishReason::cancelled);
    return false;
  }
  return true;  // Memory: it holds nothing between two inputs.
}

void EmbedLoop::step(Running& running) {
  const RequestId id = running.request.id;
  if (!std::exchange(running.started, true)) port_.send(wire::Event{id, Started{running.total_tokens, 0, 0}});
  // All that was asked for had been made before its worker died.
  if (running.next == running.request.inputs.size()) return finish(running, FinishReason::end_turn);
  if (held_ != id) running.position = 0;
  held_ = id;
  const std::vector<TokenId>& input = running.request.inputs[running.next].tokens;
  const TimePoint begun = SteadyClock::now();
  const Result<std::int32_t> read = embedder_.read(input, running.position);
  ++progress_.steps;
  if (!read) return fail(running, read.error());
  pace_.read(static_cast<std::size_t>(*read - running.position), false, SteadyClock::now() - begun);
  running.position = *read;
  if (std::cmp_less(running.position, input.size())) {
    port_.send(wire::Event{id, Prefilled{running.done_tokens + running.position, running.total_tokens}});
    return;
  }
  report_vector(running);
}

void EmbedLoop::report_vector(Running& running) {
  held_.reset();
  const std::span<const float> made = embedder_.vector();
  Embedded embedded{static_cast<std::int32_t>(running.next), {made.begin(), made.end()}, 0, running.total_tokens};
  if (!make_unit(embedded.values)) return fail(running, {ErrorCode::internal, fmt::format("input.{}: the model made a vector that has no length", running.next)});
  running.done_tokens += running.position;
  embedded.done_tokens = running.done_tokens;
  port_.send(wire::Event{running.request.id, std::move(embedded)});
  running.position = 0;
  ++running.next;
  if (running.next == running.request.inputs.size()) return finish(running, FinishReason::end_turn);
  // The next one's turn.
  const auto here = find(running.request.id);
  std::rotate(here, here + 1, running_.end());
}

void EmbedLoop::finish(Running& running, FinishReason reason) {
  Finished finished;
  finished.reason = reason;
  finished.usage.input_tokens = running.total_tokens;
  const RequestId id = running.request.id;
  running_.erase(find(id));
  if (held_ == id) held_.reset();
  port_.send(wire::Event{id, std::move(finished)});
}

void EmbedLoop::fail(Running& running, Error error) {
  const RequestId id = running.request.id;
  log::warn("request {} failed: {}", static_cast<std::uint64_t>(id), error.message);
  held_.reset();
  running_.erase(find(id));
  port_.send(wire::Event{id, Failed{std::move(error)}});
}

std::deque<EmbedLoop::Running>::iterator EmbedLoop::find(RequestId id) {
  return std::ranges::find(running_, id, [](const Running& one) { return one.request.id; });
}

void EmbedLoop::publish() {
  progress_.running = static_cast<std::int32_t>(running_.size());
  progress_.publish({}, pace_.pace());
}

}  // namespace pensieve
