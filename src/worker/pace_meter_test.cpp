#include "worker/pace_meter.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

using namespace std::chrono_literals;

TEST(PaceMeter, TheFirstOfAKindCountsUntilThereIsASecond) {
  PaceMeter meter;
  meter.read(512, false, 5s);
  meter.decoded(1, 1s);
  EXPECT_DOUBLE_EQ(meter.pace().alone_tokens_per_second, 102.4);
  EXPECT_DOUBLE_EQ(meter.pace().step_seconds[0], 1);
  for (int i = 0; i < 3; ++i) {
    meter.read(512, false, 500ms);
    meter.decoded(1, 10ms);
  }
  EXPECT_NEAR(meter.pace().alone_tokens_per_second, 1024, 1e-6);
  EXPECT_NEAR(meter.pace().step_seconds[0], 0.01, 1e-9);
}

TEST(PaceMeter, AFewAreAveragedManyAreForgotten) {
  PaceMeter meter;
  for (const auto took : {1s, 1s, 3s}) meter.decoded(2, took);
  EXPECT_DOUBLE_EQ(meter.pace().step_seconds[1], 2);
  for (int i = 0; i < 200; ++i) meter.decoded(2, 500ms);
  EXPECT_NEAR(meter.pace().step_seconds[1], 0.5, 0.001);
}

}  // namespace
}  // namespace pensieve
