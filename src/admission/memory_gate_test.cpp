#include "admission/memory_gate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace pensieve {
namespace {

using namespace std::chrono_literals;
using enum MemoryLevel;

class FakeMonitor final : public MemoryMonitor {
 public:
  std::optional<MachineMemory> read() override { return memory; }
  std::optional<MachineMemory> memory = MachineMemory{8'000'000'000, 16'000'000'000, 0, false};
};

TEST(MemoryGate, EachLevelRefusesWhatItSays) {
  FakeMonitor monitor;
  MemoryGate gate(monitor, MemoryBounds{});
  const struct { std::uint64_t available; MemoryLevel level; bool short_prompt, long_prompt; } all[] = {
      {8'000'000'000, safe, true, true},       {2'500'000'000, caution, true, true},     {1'500'000'000, warning, true, false},
      {700'000'000, critical, false, false},   {400'000'000, emergency, false, false},
  };
  TimePoint now{100s};
  for (const auto& want : all) {
    monitor.memory->available_bytes = want.available;
    gate.sample(now += 1s);
    EXPECT_EQ(gate.level(), want.level);
    EXPECT_EQ(static_cast<bool>(gate.at_arrival()), want.short_prompt);
    EXPECT_EQ(static_cast<bool>(gate.for_prompt(100, 4096)), want.short_prompt);
    EXPECT_EQ(static_cast<bool>(gate.for_prompt(2000, 4096)), want.long_prompt);
  }
}

TEST(MemoryGate, TellsOfEachChangeOnceOnTheWayDownAndUp) {
  FakeMonitor monitor;
  MemoryGate gate(monitor, MemoryBounds{});
  std::vector<std::pair<MemoryLevel, MemoryLevel>> told;
  gate.on_change([&](MemoryLevel from, MemoryLevel to) { told.emplace_back(from, to); });
  TimePoint now{100s};
  const auto hold = [&](std::uint64_t available) {
    monitor.memory->available_bytes = available;
    for (int i = 0; i < 5; ++i) gate.sample(now += 1s);
  };
  hold(2'500'000'000);
  hold(400'000'000);
  hold(1'500'000'000);
  hold(8'000'000'000);
  const std::vector<std::pair<MemoryLevel, MemoryLevel>> want = {{safe, caution}, {caution, emergency}, {emergency, warning}, {warning, safe}};
  EXPECT_EQ(told, want);
  EXPECT_EQ(gate.changes(), 4u);
}

TEST(MemoryGate, AnAlarmLooksAtOnceAndWantsLooksForAWhile) {
  FakeMonitor monitor;
  MemoryGate gate(monitor, MemoryBounds{});
  TimePoint now{100s};
  gate.sample(now);
  EXPECT_FALSE(gate.alarmed(now));
  monitor.memory->available_bytes = 700'000'000;
  gate.alarm(now += 1ms);
  EXPECT_EQ(gate.level(), critical);
  EXPECT_EQ(gate.alarms(), 1u);
  EXPECT_TRUE(gate.alarmed(now + 1s));
  EXPECT_FALSE(gate.alarmed(now + 2s));
}

TEST(MemoryGate, EachWorseLevelDoesSomethingMoreAndSaysWhat) {
  EXPECT_TRUE(actions_at(safe).empty());
  for (const MemoryLevel level : {caution, warning, critical, emergency}) {
    const auto before = actions_at(static_cast<MemoryLevel>(static_cast<int>(level) - 1));
    bool something_new = false;
    for (const std::string& action : actions_at(level)) something_new = something_new || std::ranges::find(before, action) == before.end();
    EXPECT_TRUE(something_new) << name_of(level);
  }
}

TEST(MemoryGate, WithoutFiguresEverythingMayBegin) {
  FakeMonitor monitor;
  monitor.memory.reset();
  MemoryGate gate(monitor, MemoryBounds{});
  gate.sample();
  EXPECT_TRUE(gate.at_arrival());
  EXPECT_TRUE(gate.for_prompt(4000, 4096));
}

}  // namespace
}  // namespace pensieve
