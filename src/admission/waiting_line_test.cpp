#include "admission/waiting_line.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <optional>

namespace pensieve {
namespace {

using namespace std::chrono_literals;

TEST(WaitingLine, RunsAsManyAsThereAreSlotsAndRefusesBeyondTheQueue) {
  boost::asio::io_context io;
  WaitingLine line(io.get_executor(), 2, 1);
  std::optional<WaitingLine::Place> first(*line.try_enter());
  auto second = line.try_enter();
  auto third = line.try_enter();
  EXPECT_TRUE(first->running());
  EXPECT_TRUE(second->running());
  EXPECT_FALSE(third->running());
  const auto fourth = line.try_enter();
  ASSERT_FALSE(fourth);
  EXPECT_EQ(fourth.error().code, ErrorCode::overloaded);
  EXPECT_EQ(line.waiting(), 1u);
  first.reset();
  EXPECT_TRUE(third->running());
  EXPECT_EQ(line.running(), 2u);
  EXPECT_EQ(line.waiting(), 0u);
}

TEST(WaitingLine, AQueueOfZeroStillRuns) {
  boost::asio::io_context io;
  WaitingLine line(io.get_executor(), 1, 0);
  const auto first = line.try_enter();
  ASSERT_TRUE(first);
  EXPECT_FALSE(line.try_enter());
}

TEST(WaitingLine, AWaiterWakesWhenItIsItsTurn) {
  boost::asio::io_context io;
  WaitingLine line(io.get_executor(), 1, 5);
  std::optional<WaitingLine::Place> first(*line.try_enter());
  bool granted = false;
  boost::asio::co_spawn(
      io,
      [&]() -> boost::asio::awaitable<void> {
        auto place = line.try_enter();
        EXPECT_FALSE(co_await place->until_running(1ms));
        first.reset();
        granted = co_await place->until_running(10s);
      },
      boost::asio::detached);
  io.run();
  EXPECT_TRUE(granted);
  EXPECT_EQ(line.running(), 0u);
}

TEST(WaitingLine, OneThatLeavesTheMiddleOfTheLineMakesRoom) {
  boost::asio::io_context io;
  WaitingLine line(io.get_executor(), 1, 2);
  const auto first = line.try_enter();
  std::optional<WaitingLine::Place> second(*line.try_enter());
  const auto third = line.try_enter();
  second.reset();
  EXPECT_EQ(line.waiting(), 1u);
  EXPECT_FALSE(third->running());
}

TEST(WaitingLine, RetryAfterStaysWithinWhatAgentsObey) {
  boost::asio::io_context io;
  WaitingLine line(io.get_executor(), 1, 1000);
  EXPECT_GE(line.retry_after_seconds(), 1);
  std::vector<WaitingLine::Place> places;
  for (int i = 0; i < 1001; ++i) places.push_back(*line.try_enter());
  EXPECT_EQ(line.retry_after_seconds(), 60);
  while (!places.empty()) places.pop_back();
}

}  // namespace
}  // namespace pensieve
