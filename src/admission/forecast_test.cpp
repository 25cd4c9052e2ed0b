#include "admission/forecast.h"

#include <gtest/gtest.h>

#include <numeric>

namespace pensieve {
namespace {

using namespace std::chrono_literals;
const TimePoint kNow{std::chrono::seconds(100)};

std::vector<TokenId> prompt(int count, int first = 0) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// 100 tokens a second alone, 50 beside others in pieces of 10; a step of one row 0.1 s, of two 0.2 s.
Forecast measured(std::size_t slots) {
  Forecast forecast(slots);
  forecast.set_pace({100, 50, 10, {0.1, 0.2}});
  return forecast;
}

TEST(Forecast, SaysNothingBeforeItWasMeasured) {
  Forecast forecast(1);
  const auto one = forecast.enter(prompt(100), 10);
  EXPECT_FALSE(forecast.first_token_in(kNow));
  EXPECT_FALSE(forecast.place_in(1, kNow));
}

TEST(Forecast, AloneItIsThePrompt) {
  Forecast forecast = measured(1);
  const auto one = forecast.enter(prompt(200), 10);
  EXPECT_DOUBLE_EQ(*forecast.first_token_in(kNow), 2.0);
}

TEST(Forecast, BehindOneSlotItIsTheWholeAnswerBeforeIt) {
  Forecast forecast = measured(1);
  auto first = forecast.enter(prompt(100), 11);
  const auto second = forecast.enter(prompt(200, 1000), 10);
  // 1 s to read, ten more tokens of 0.1 s, then 2 s to read.
  EXPECT_NEAR(*forecast.first_token_in(kNow), 4.0, 1e-9);
  EXPECT_NEAR(*forecast.place_in(1, kNow), 2.0, 1e-9);
  first.said(6, kNow);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 2.5, 1e-9);
}

TEST(Forecast, BesideAnotherThatDecodesItIsPiecesAndSteps) {
  Forecast forecast = measured(2);
  auto first = forecast.enter(prompt(10), 100);
  first.said(1, kNow);
  const auto second = forecast.enter(prompt(100, 1000), 10);
  // Ten pieces of ten tokens at 50 a second, each followed by a step of 0.1 s.
  EXPECT_NEAR(*forecast.first_token_in(kNow), 3.0, 1e-9);
}

TEST(Forecast, PromptsAreReadOneAfterAnother) {
  Forecast forecast = measured(2);
  const auto first = forecast.enter(prompt(100), 1);
  const auto second = forecast.enter(prompt(200, 1000), 1);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 3.0, 1e-9) << "the first ends with the token that its prompt gave";
}

TEST(Forecast, PlacesBeyondTheLineGoAsFastAsThoseInIt) {
  Forecast forecast = measured(1);
  const auto a = forecast.enter(prompt(100), 1);
  const auto b = forecast.enter(prompt(100, 1000), 1);
  EXPECT_NEAR(*forecast.place_in(1, kNow), 1.0, 1e-9);
  EXPECT_NEAR(*forecast.place_in(3, kNow), 3.0, 1e-9);
}

TEST(Forecast, AnswersAreExpectedToBeAsLongAsLately) {
  Forecast forecast = measured(1);
  for (int i = 0; i < 100; ++i) {
    auto past = forecast.enter(prompt(10), 1000);
    past.said(21, kNow);
    past.ended(false);
  }
  const auto first = forecast.enter(prompt(100, 500), 1000);
  const auto second = forecast.enter(prompt(100, 1000), 1000);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 1 + 2 + 1, 0.1);
}

TEST(Forecast, OfTheStepThatTheWorkerIsAtAPartIsDone) {
  Forecast forecast = measured(1);
  auto first = forecast.enter(prompt(100), 11);
  first.began(kNow - 700ms);
  const auto second = forecast.enter(prompt(200, 1000), 10);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 3.3, 1e-9);
  EXPECT_NEAR(*forecast.first_token_in(kNow + 10s), 3.0, 1e-9) << "no more than it may take";
  first.said(1, kNow);
  EXPECT_NEAR(*forecast.first_token_in(kNow + 40ms), 1.0 - 0.04 + 2.0, 1e-9);
}

TEST(Forecast, AWorkerThatRestedIsAtNoStep) {
  Forecast forecast = measured(1);
  {
    auto past = forecast.enter(prompt(100), 1);
    past.began(kNow - 20s);
    past.said(1, kNow - 19s);
  }
  const auto next = forecast.enter(prompt(100, 1000), 1);
  const auto behind = forecast.enter(prompt(100, 2000), 1);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 2.0, 1e-9);
}

TEST(AnswerLengths, WithoutAnyTheyMayEndAtMaxTokens) {
  const AnswerLengths lengths;
  EXPECT_NEAR(lengths.expected_left(0, 48), 48, 1);
  EXPECT_LT(lengths.expected_left(0, 32'000), 2'001) << "but hardly at 32,000";
  EXPECT_EQ(lengths.expected_left(50, 50), 0);
}

TEST(AnswerLengths, ThoseThatMaxTokensCutOffTellNothingOfTheEnd) {
  AnswerLengths lengths;
  for (int i = 0; i < 20; ++i) lengths.add(20, true);
  EXPECT_NEAR(lengths.expected_left(0, 40), 40, 1);
  for (int i = 0; i < 20; ++i) lengths.add(300, false);
  EXPECT_NEAR(lengths.expected_left(0, 32'000), 300, 1) << "one that asks for 20 does not make others short";
  EXPECT_NEAR(lengths.expected_left(290, 32'000), 10, 1);
  EXPECT_NEAR(lengths.expected_left(0, 100), 100, 1e-9);
}

TEST(AnswerLengths, OneThatWentOnForLongerThanAllGoesOnForAWhile) {
  AnswerLengths lengths;
  for (int i = 0; i < 64; ++i) lengths.add(i % 2 == 0 ? 100 : 200, false);
  EXPECT_NEAR(lengths.expected_left(0, 32'000), 150, 2);
  EXPECT_NEAR(lengths.expected_left(100, 32'000), 100, 2) << "the short ones are out";
  EXPECT_GT(lengths.expected_left(200, 32'000), 100);
  EXPECT_LT(lengths.expected_left(200, 32'000), 300);
  EXPECT_NEAR(lengths.expected_left(200, 210), 10, 1);
}

TEST(Forecast, APromptThatWasReadLatelyIsNotReadAgain) {
  Forecast forecast = measured(1);
  {
    auto past = forecast.enter(prompt(600), 10);
    past.ended(true);
  }
  const auto again = forecast.enter(prompt(700), 10);
  EXPECT_NEAR(*forecast.first_token_in(kNow), 100 / 100.0, 1e-9);
}

TEST(Forecast, AConversationThatGoesOnReadsWhatIsNew) {
  for (const int length : {100, 512, 600}) {
    Forecast forecast = measured(1);
    {
      auto past = forecast.enter(prompt(length), 300);
      past.said(280, kNow);
      past.ended(false);
    }
    {
      const auto again = forecast.enter(prompt(length), 300);
      EXPECT_EQ(forecast.first_token(kNow)->own, 1) << length;
    }
    {
      const auto next = forecast.enter(prompt(length + 280 + 50), 300);  // The answer may cross blocks that nobody has named.
      EXPECT_EQ(forecast.first_token(kNow)->own, 50) << length;
    }
    auto other = prompt(length + 200);
    other[static_cast<std::size_t>(length) - 60] = 9999;
    const auto elsewhere = forecast.enter(other, 300);
    EXPECT_EQ(forecast.first_token(kNow)->own, length == 512 ? 200 + 256 : 260) << length;
  }
}

TEST(Forecast, WhatLeavesIsNotCounted) {
  Forecast forecast = measured(1);
  { const auto gone = forecast.enter(prompt(1000), 1000); }
  const auto one = forecast.enter(prompt(100, 5000), 10);
  EXPECT_DOUBLE_EQ(*forecast.first_token_in(kNow), 1.0);
}

TEST(Forecast, ManyRequestsAreSummedUpQuickly) {
  Forecast forecast = measured(4);
  std::vector<Forecast::Entry> entries;
  for (int i = 0; i < 1000; ++i) entries.push_back(forecast.enter(prompt(100 + i, i * 1000), 100000));
  EXPECT_GT(*forecast.first_token_in(kNow), 0);
}

}  // namespace
}  // namespace pensieve
