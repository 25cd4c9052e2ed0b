#include "supervisor/restart_policy.h"

#include <gtest/gtest.h>

#include "supervisor/watchdog.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;
using Running = RestartPolicy::Running;

const TimePoint kStart{1000s};
constexpr RequestKey kPoison{1};
constexpr RequestKey kOther{2};

TEST(RestartPolicy, TheFirstDeathIsFollowedAtOnceFurtherOnesAfterGrowingPauses) {
  RestartPolicy policy(RestartOptions{.deaths_max = 100});
  EXPECT_EQ(policy.on_death(kStart, {}).pause, 0ms);
  EXPECT_EQ(policy.on_death(kStart, {}).pause, 100ms);
  EXPECT_EQ(policy.on_death(kStart, {}).pause, 200ms);
  policy.on_work();
  EXPECT_EQ(policy.on_death(kStart, {}).pause, 0ms);
  for (int i = 0; i < 50; ++i) EXPECT_LE(policy.on_death(kStart, {}).pause, 5s);
  EXPECT_EQ(policy.on_death(kStart, {}).pause, 5s);
}

TEST(RestartPolicy, ManyDeathsWithinTheWindowDegradeThenStop) {
  RestartPolicy policy(RestartOptions{.deaths_max = 4, .window = 60s});
  for (int i = 0; i < 2; ++i) EXPECT_FALSE(policy.on_death(kStart + i * 1s, {}).degraded);
  for (int i = 2; i < 4; ++i) {
    const auto verdict = policy.on_death(kStart + i * 1s, {});
    EXPECT_TRUE(verdict.degraded);
    EXPECT_TRUE(verdict.restart);
  }
  EXPECT_FALSE(policy.on_death(kStart + 4s, {}).restart);
}

TEST(RestartPolicy, AWindowInPeaceForgives) {
  RestartPolicy policy(RestartOptions{.deaths_max = 4, .window = 60s});
  for (int i = 0; i < 4; ++i) policy.on_death(kStart, {});
  EXPECT_TRUE(policy.degraded(kStart + 60s));
  EXPECT_FALSE(policy.degraded(kStart + 61s));
  EXPECT_EQ(policy.deaths(kStart + 61s), 0u);
  const auto verdict = policy.on_death(kStart + 61s, {});
  EXPECT_TRUE(verdict.restart);
  EXPECT_FALSE(verdict.degraded);
}

TEST(RestartPolicy, ARequestAtTwoDeathsWithoutComingFurtherIsASuspect) {
  RestartPolicy policy(RestartOptions{.deaths_max = 100});
  policy.on_death(kStart, {{Running{kPoison, 50}, Running{kOther, 70}}});
  EXPECT_FALSE(policy.is_suspect(kPoison, kStart));
  policy.on_death(kStart + 1s, {{Running{kPoison, 50}, Running{kOther, 80}}});
  EXPECT_TRUE(policy.is_suspect(kPoison, kStart + 1s));
  EXPECT_FALSE(policy.is_suspect(kOther, kStart + 1s)) << "it came further in between";
  EXPECT_FALSE(policy.is_suspect(kPoison, kStart + 1s + 601s)) << "not for ever";
}

TEST(RestartPolicy, ComingLessFarTheSecondTimeIsNoExcuse) {
  RestartPolicy policy(RestartOptions{.deaths_max = 100});
  policy.on_death(kStart, {{Running{kPoison, 50}}});
  policy.on_death(kStart, {{Running{kPoison, 10}}});
  EXPECT_TRUE(policy.is_suspect(kPoison, kStart));
  policy.on_death(kStart, {{Running{kPoison, 49}}});
  EXPECT_TRUE(policy.is_suspect(kPoison, kStart));
}

TEST(RestartPolicy, SomebodyWhoKillsWorkersIsNotTheRequestsFault) {
  RestartPolicy policy(RestartOptions{.deaths_max = 100});
  for (int death = 0; death < 3; ++death) policy.on_death(kStart, {{Running{kOther, 50}}}, true);
  EXPECT_FALSE(policy.is_suspect(kOther, kStart));
  policy.on_death(kStart, {{Running{kOther, 50}}}, true);
  EXPECT_TRUE(policy.is_suspect(kOther, kStart)) << "for the system kills those that eat its memory";
}

TEST(RestartPolicy, WhatRanToItsEndIsAcquitted) {
  RestartPolicy policy(RestartOptions{.deaths_max = 100});
  policy.on_death(kStart, {{Running{kOther, 50}}});
  policy.acquit(kOther);
  policy.on_death(kStart, {{Running{kOther, 20}}});
  EXPECT_FALSE(policy.is_suspect(kOther, kStart));
}

TEST(RestartPolicy, RemembersABoundedNumberOfRequests) {
  RestartPolicy policy(RestartOptions{.deaths_max = 1000000});
  for (int death = 0; death < 2; ++death) policy.on_death(kStart, {{Running{kPoison, 1}}});
  for (std::uint64_t i = 0; i < RestartPolicy::kSuspectsKept; ++i) policy.on_death(kStart, {{Running{RequestKey{100 + i}, 1}}});
  EXPECT_FALSE(policy.is_suspect(kPoison, kStart));
}

TEST(Watchdog, BarksOnlyWhenNothingIsFinishedWhileWorkIsDue) {
  Watchdog dog(10s, kStart);
  EXPECT_FALSE(dog.stalled(true, kStart + 10s));
  EXPECT_TRUE(dog.stalled(true, kStart + 11s));
  dog.progressed(kStart + 11s);
  EXPECT_FALSE(dog.stalled(true, kStart + 21s));
  EXPECT_FALSE(dog.stalled(false, kStart + 100s)) << "idle is no stall";
  EXPECT_FALSE(dog.stalled(true, kStart + 110s)) << "and its time does not count";
}

TEST(Watchdog, AnswersWithoutMovingCountersAreNoProgress) {
  Watchdog dog(10s, kStart);
  dog.counted(5, 100, kStart + 1s);
  dog.counted(5, 100, kStart + 9s);
  EXPECT_TRUE(dog.stalled(true, kStart + 12s));
  dog.counted(5, 101, kStart + 12s);
  EXPECT_FALSE(dog.stalled(true, kStart + 20s)) << "a part of a long step is progress";
  dog.counted(6, 101, kStart + 20s);
  EXPECT_FALSE(dog.stalled(true, kStart + 29s));
}

}  // namespace
}  // namespace pensieve
