#include "admission/promises.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

using namespace std::chrono_literals;
const TimePoint kStart{100s};

TEST(Promises, AreKeptOnceAndWhenTheyAreDue) {
  Promises promises;
  const BodyKey key = key_of_body("{\"a\":1}");
  promises.make(key, kStart + 5s, kStart);
  EXPECT_FALSE(promises.redeem(key, kStart + 4s)) << "too early";
  EXPECT_FALSE(promises.redeem(key_of_body("{\"a\":2}"), kStart + 5s)) << "another request";
  EXPECT_TRUE(promises.redeem(key, kStart + 5s));
  EXPECT_FALSE(promises.redeem(key, kStart + 5s));
}

TEST(Promises, TwoOfTheSameAreTwo) {
  Promises promises;
  const BodyKey key = key_of_body("x");
  promises.make(key, kStart + 1s, kStart);
  promises.make(key, kStart + 2s, kStart);
  EXPECT_EQ(promises.due_until(kStart + 1s, kStart), 1u);
  EXPECT_EQ(promises.due_until(TimePoint::max(), kStart), 2u);
  EXPECT_TRUE(promises.redeem(key, kStart + 1s));
  EXPECT_FALSE(promises.redeem(key, kStart + 1s));
  EXPECT_TRUE(promises.redeem(key, kStart + 2s));
}

TEST(Promises, WhoDoesNotComeIsForgotten) {
  Promises promises;
  promises.make(key_of_body("x"), kStart + 1s, kStart);
  EXPECT_EQ(promises.due_until(TimePoint::max(), kStart + 6s), 1u);
  EXPECT_EQ(promises.due_until(TimePoint::max(), kStart + 6001ms), 0u);
}

TEST(Promises, WhereFewComeFewPlacesAreKept) {
  Promises promises;
  TimePoint now = kStart;
  const auto ten = [&](std::uint64_t coming) {
    for (std::uint64_t i = 0; i < 10; ++i) promises.make(BodyKey{i}, now, now);
    for (std::uint64_t i = 0; i < coming; ++i) EXPECT_TRUE(promises.redeem(BodyKey{i}, now));
    now += 10s;
    promises.due_until(now, now);
  };
  const auto expected_of_a_hundred = [&] {
    Promises copy = promises;
    for (std::uint64_t i = 0; i < 100; ++i) copy.make(BodyKey{i}, now, now);
    return copy.expected_until(now, now);
  };
  EXPECT_EQ(expected_of_a_hundred(), 100u) << "as long as nothing is known";
  for (int i = 0; i < 20; ++i) ten(1);
  EXPECT_LE(expected_of_a_hundred(), 20u);
  EXPECT_GE(expected_of_a_hundred(), 3u);
  for (int i = 0; i < 20; ++i) ten(10);
  EXPECT_GE(expected_of_a_hundred(), 99u);
}

TEST(Promises, NoPlaceIsKeptForThoseWhoWereOnlyToldToCome) {
  Promises promises;
  const BodyKey key = key_of_body("x");
  promises.make(key, kStart + 1s, kStart, false);
  EXPECT_TRUE(promises.any_open(kStart));
  EXPECT_EQ(promises.due_until(kStart + 1s, kStart), 0u);
  EXPECT_TRUE(promises.redeem(key, kStart + 1s)) << "but it comes before those who were told nothing";
  EXPECT_FALSE(promises.any_open(kStart + 1s));
}

TEST(Promises, AreBounded) {
  Promises promises;
  for (std::size_t i = 0; i < 2 * Promises::kPromisesMax; ++i) promises.make(BodyKey{i}, kStart + 1s, kStart);
  EXPECT_EQ(promises.due_until(TimePoint::max(), kStart), Promises::kPromisesMax);
}

TEST(Promises, ABodyIsKnownByAllOfItsBytes) {
  const std::string body(1 << 20, 'x');
  std::string other_end = body, longer = body + "x";
  other_end.back() = 'y';
  std::string other_middle = body;
  other_middle[body.size() / 2] = 'y';
  EXPECT_EQ(key_of_body(body), key_of_body(std::string(1 << 20, 'x')));
  EXPECT_NE(key_of_body(body), key_of_body(other_end));
  EXPECT_NE(key_of_body(body), key_of_body(other_middle));
  EXPECT_NE(key_of_body(body), key_of_body(longer));
}

}  // namespace
}  // namespace pensieve
