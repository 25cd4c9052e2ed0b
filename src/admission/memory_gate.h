// Stands in front of every endpoint that generates: what the machine has left
// decides what may begin. Asked at arrival, when the prompt's length is known, and
// again after waiting in line.
//
//   Owns     the level; not the monitor.
//   Threads  the I/O thread.
//   Errors   overloaded, saying level and figures.
//
//   level      what follows, besides what followed before (docs/memory.md; actions_at())
//   caution    what lies in idle slots goes to the store, and its memory to the system when it is cold
//   warning    no new long prompts, the waiting line is shortened
//   critical   nothing new; what runs goes on; idle slots are dropped
//   emergency  the worker is ended until there is memory again
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "admission/memory_level.h"
#include "base/result.h"
#include "platform/memory.h"

namespace pensieve {

// What is done about it at this level, in words: for /health and the log.
std::vector<std::string> actions_at(MemoryLevel level);

class MemoryGate {
 public:
  using OnChange = std::function<void(MemoryLevel from, MemoryLevel to)>;

  // Long: of more than this part of a slot's room.
  static constexpr double kLongPromptPart = 0.25;
  static constexpr std::chrono::milliseconds kFreshFor{50};

  MemoryGate(MemoryMonitor& monitor, const MemoryBounds& bounds) : monitor_(monitor), levels_(bounds) {}

  void on_change(OnChange callback) { on_change_ = std::move(callback); }
  void sample(TimePoint now = SteadyClock::now());  // Reads the monitor; one log line for each change.
  // The system says that tasks wait for memory: looks at once, and wants looks in quick succession for a while.
  void alarm(TimePoint now = SteadyClock::now());
  bool alarmed(TimePoint now = SteadyClock::now()) const { return alarms_ > 0 && now - alarmed_at_ < kAlarmedFor; }
  static constexpr std::chrono::milliseconds kAlarmedFor{2000};

  Result<void> at_arrival();  // Samples when the last figure is older than kFreshFor.
  Result<void> for_prompt(std::int64_t prompt_tokens, std::int64_t context_tokens) const;

  MemoryLevel level() const { return levels_.level(); }
  bool accepting() const { return levels_.level() < MemoryLevel::critical; }
  const std::optional<MachineMemory>& memory() const { return memory_; }
  const MemoryBounds& bounds() const { return levels_.bounds(); }
  std::uint64_t changes() const { return changes_; }
  std::uint64_t alarms() const { return alarms_; }

 private:
  Error refusal(const char* what) const;

  MemoryMonitor& monitor_;
  MemoryLevels levels_;
  OnChange on_change_;
  std::optional<MachineMemory> memory_;
  TimePoint sampled_at_{};
  TimePoint alarmed_at_{};
  std::uint64_t alarms_ = 0;
  std::uint64_t changes_ = 0;
};

}  // namespace pensieve
