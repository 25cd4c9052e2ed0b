#include "engine/threads/team.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>

#include "engine/threads/patience.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

constexpr int kThreads = 3;

struct Sums {
  Team* team;
  int rounds;
  std::array<std::atomic<int>, kThreads> done{};
  std::atomic<int> ahead{0};   // Threads seen in a later round than the barrier allows.
  std::atomic<int> firsts{0};
};

// Each round everybody adds one and waits: after the barrier all have.
void count_rounds(void* data) {
  auto& sums = *static_cast<Sums*>(data);
  for (int round = 1; round <= sums.rounds; ++round) {
    if (sums.team->first()) ++sums.firsts;
    ++sums.done[static_cast<std::size_t>(Team::number())];
    sums.team->barrier();
    for (const auto& other : sums.done) {
      if (other != round) ++sums.ahead;
    }
    sums.team->barrier();
  }
}

TEST(Team, NobodyPassesABarrierBeforeAllHaveReachedIt) {
  Team team;
  for (int job = 0; job < 20; ++job) {
    Sums sums{&team, 200};
    team.run(count_rounds, &sums, kThreads);
    for (const auto& done : sums.done) EXPECT_EQ(done, 200);
    EXPECT_EQ(sums.ahead, 0);
    EXPECT_EQ(sums.firsts, 200);
  }
}

TEST(Team, AThreadThatSleepsIsWokenByTheLastOne) {
  Team team;
  struct Late {
    Team* team;
    std::atomic<int> through{0};
  } late{&team};
  for (int round = 0; round < 3; ++round) {
    team.run(
        [](void* data) {
          auto& all = *static_cast<Late*>(data);
          if (Team::number() == 0) std::this_thread::sleep_for(10ms);  // Longer than anybody spins.
          all.team->barrier();
          ++all.through;
        },
        &late, 2);
  }
  EXPECT_EQ(late.through, 6);
}

TEST(Team, JobsOfDifferentSizesFollowEachOther) {
  Team team;
  for (const int size : {1, 4, 2, 1, 3}) {
    std::atomic<int> members = 0;
    team.run([](void* data) { *static_cast<std::atomic<int>*>(data) += 100 * Team::size() + 1; }, &members, size);
    EXPECT_EQ(members, size * (100 * size + 1));
  }
  EXPECT_EQ(Team::size(), 1);
  EXPECT_EQ(Team::number(), 0);
}

// Spins in vain, one after another, until it has had enough; the time then.
Patience::Time lose(Patience& patience, Patience::Time now, int most = 10) {
  for (int spin = 0; spin < most && !patience.brief(now); ++spin) {
    patience.in_vain(now, now + Patience::kLong);
    now += Patience::kLong;
  }
  return now;
}

TEST(Patience, SpinsBrieflyAfterManySpinsInVainAndTriesAgainLater) {
  Patience patience;
  const Patience::Time begin = Patience::Time{} + 1h;
  EXPECT_FALSE(patience.brief(begin));
  const Patience::Time end = lose(patience, begin);
  EXPECT_EQ(end - begin, 6 * Patience::kLong);
  EXPECT_TRUE(patience.brief(end + Patience::kRestMin - 1ns));
  EXPECT_FALSE(patience.brief(end + Patience::kRestMin));
}

TEST(Patience, BearsASpinInVainNowAndThen) {
  Patience patience;
  Patience::Time now = Patience::Time{} + 1h;
  for (int spin = 0; spin < 1000; ++spin) {
    now += 5 * Patience::kLong;
    lose(patience, now - Patience::kLong, 1);
    ASSERT_FALSE(patience.brief(now)) << spin;
  }
}

TEST(Patience, RestsTwiceAsLongEachTimeUpToABoundAndStartsAnewAfterItWentWell) {
  Patience patience;
  Patience::Time now = lose(patience, Patience::Time{} + 1h);
  Patience::Span rest = Patience::kRestMin;
  for (int failure = 0; failure < 10; ++failure) {
    now = lose(patience, now + rest);
    rest = std::min<Patience::Span>(2 * rest, Patience::kRestMax);
    EXPECT_TRUE(patience.brief(now + rest - 1ns)) << failure;
    EXPECT_FALSE(patience.brief(now + rest)) << failure;
  }
  now = lose(patience, now + 4 * rest);
  EXPECT_FALSE(patience.brief(now + Patience::kRestMin));
}

TEST(Patience, CountsOnceWhatAllThreadsSay) {
  Patience patience;
  const Patience::Time begin = Patience::Time{} + 1h;
  for (int thread = 0; thread < 15; ++thread) patience.in_vain(begin, begin + 1ms + thread * 1us);
  EXPECT_FALSE(patience.brief(begin + 2ms));
}

}  // namespace
}  // namespace pensieve
