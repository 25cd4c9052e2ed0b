#include "admission/memory_gate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/log.h"

namespace pensieve {

std::vector<std::string> actions_at(MemoryLevel level) {
  std::vector<std::string> actions;
  if (level == MemoryLevel::caution || level == MemoryLevel::warning) actions.emplace_back("idle slots are stored at once, and their memory given back when they are cold");
  if (level >= MemoryLevel::caution) actions.emplace_back("freed memory is given back");
  if (level == MemoryLevel::warning) actions.emplace_back("no long prompts are begun");
  if (level >= MemoryLevel::warning) actions.emplace_back("the line is a quarter as long");
  if (level >= MemoryLevel::critical) actions.emplace_back("nothing new is begun");
  if (level == MemoryLevel::critical) actions.emplace_back("idle slots are stored and dropped at once");
  if (level == MemoryLevel::emergency) actions.emplace_back("slots are stored, and the worker ended until there is memory for it");
  return actions;
}

void MemoryGate::sample(TimePoint now) {
  sampled_at_ = now;
  const auto memory = monitor_.read();
  if (!memory) return;  // Not known here: everything stays as it is.
  memory_ = memory;
  const MemoryLevel before = levels_.level();
  if (!levels_.update(memory->available_bytes, memory->pressure_percent, now)) return;
  ++changes_;
  const std::vector<std::string> actions = actions_at(levels_.level());
  log::warn("memory: {} -> {}, {:.2f} GB available{}, pressure {:.0f} %{}{}", name_of(before), name_of(levels_.level()),
            static_cast<double>(memory->available_bytes) / 1e9, memory->limited_by_group ? " in the control group" : "", memory->pressure_percent,
            actions.empty() ? "" : ": ", fmt::join(actions, "; "));
  if (on_change_) on_change_(before, levels_.level());
}

void MemoryGate::alarm(TimePoint now) {
  ++alarms_;
  alarmed_at_ = now;
  sample(now);
}

Result<void> MemoryGate::at_arrival() {
  if (SteadyClock::now() - sampled_at_ > kFreshFor) sample();
  if (!accepting()) return refusal("nothing new is begun");
  return {};
}

Result<void> MemoryGate::for_prompt(std::int64_t prompt_tokens, std::int64_t context_tokens) const {
  if (!accepting()) return refusal("nothing new is begun");
  const bool is_long = static_cast<double>(prompt_tokens) > kLongPromptPart * static_cast<double>(context_tokens);
  if (levels_.level() == MemoryLevel::warning && is_long) return refusal("no long prompts are begun");
  return {};
}

Error MemoryGate::refusal(const char* what) const {
  return {ErrorCode::overloaded, fmt::format("the machine is short of memory ({}, {:.2f} GB available): {}", name_of(levels_.level()),
                                             memory_ ? static_cast<double>(memory_->available_bytes) / 1e9 : 0.0, what)};
}

}  // namespace pensieve
