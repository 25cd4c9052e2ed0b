#include "admission/memory_level.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

using namespace std::chrono_literals;
using enum MemoryLevel;

constexpr std::uint64_t kMB = 1'000'000;
const TimePoint kStart{100s};

TEST(MemoryLevels, EveryLevelIsEnteredAtItsBoundAndLeftAboveIt) {
  const struct { MemoryLevel level; std::uint64_t bound; } all[] = {{caution, 3000 * kMB}, {warning, 2000 * kMB}, {critical, 1000 * kMB}, {emergency, 500 * kMB}};
  for (const auto& [level, bound] : all) {
    MemoryLevels levels{MemoryBounds{}};
    levels.update(bound + 1, 0, kStart);
    EXPECT_LT(levels.level(), level) << "one byte above";
    EXPECT_TRUE(levels.update(bound, 0, kStart));
    EXPECT_EQ(levels.level(), level) << "the bound belongs to the worse level";
    EXPECT_FALSE(levels.update(bound * 105 / 100, 0, kStart + 1s));
    EXPECT_FALSE(levels.update(bound * 105 / 100, 0, kStart + 60s)) << "a little more is not better";
    EXPECT_FALSE(levels.update(bound * 112 / 100, 0, kStart + 61s));
    EXPECT_FALSE(levels.update(bound * 112 / 100, 0, kStart + 62s)) << "not at once";
    EXPECT_TRUE(levels.update(bound * 112 / 100, 0, kStart + 63s));
    EXPECT_LT(levels.level(), level);
  }
}

TEST(MemoryLevels, ADipStartsTheWaitAgain) {
  MemoryLevels levels{MemoryBounds{}};
  levels.update(900 * kMB, 0, kStart);
  levels.update(5000 * kMB, 0, kStart + 1s);
  levels.update(1050 * kMB, 0, kStart + 2s);
  EXPECT_FALSE(levels.update(5000 * kMB, 0, kStart + 3s));
  EXPECT_FALSE(levels.update(5000 * kMB, 0, kStart + 4s));
  EXPECT_TRUE(levels.update(5000 * kMB, 0, kStart + 5s));
  EXPECT_EQ(levels.level(), safe);
}

TEST(MemoryLevels, PressureIsAWarningByItself) {
  MemoryLevels levels{MemoryBounds{}};
  EXPECT_TRUE(levels.update(8000 * kMB, 50, kStart));
  EXPECT_EQ(levels.level(), warning);
  levels.update(8000 * kMB, 0, kStart + 1s);
  EXPECT_TRUE(levels.update(8000 * kMB, 0, kStart + 4s));
  EXPECT_EQ(levels.level(), safe);
}

TEST(MemoryLevels, SmallMachinesHaveSmallBounds) {
  EXPECT_EQ(MemoryBounds::for_machine(64'000 * kMB).caution, 3000 * kMB);
  EXPECT_EQ(MemoryBounds::for_machine(2'000 * kMB).caution, 750 * kMB);
  EXPECT_EQ(MemoryBounds::for_machine(2'000 * kMB).emergency, 125 * kMB);
}

}  // namespace
}  // namespace pensieve
