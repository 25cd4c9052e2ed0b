#include "worker/plan.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

TEST(Plan, ChunksCoverThePromptAndNeverHaveAFewRows) {
  for (const std::int32_t chunk : {16, 32, 128, 512}) {
    for (std::int32_t prompt = 1; prompt < 1200; ++prompt) {
      std::int32_t position = 0;
      while (position < prompt) {
        const std::int32_t end = prefill_chunk_end(position, prompt, chunk);
        ASSERT_GT(end, position);
        ASSERT_LE(end - position, chunk);
        ASSERT_TRUE(end - position >= kPrefillRowsMin || prompt < kPrefillRowsMin) << prompt << " in chunks of " << chunk;
        position = end;
      }
      ASSERT_EQ(position, prompt);
    }
  }
}

// The chunk size may change between any two steps.
TEST(Plan, ChangingChunkSizesStillLeaveNoSmallRest) {
  for (std::int32_t prompt = 1; prompt < 1200; ++prompt) {
    const std::int32_t sizes[] = {512, 16, 64, 16, 256, 32};
    std::int32_t position = 0;
    for (int i = 0; position < prompt; ++i) {
      const std::int32_t end = prefill_chunk_end(position, prompt, sizes[i % 6]);
      ASSERT_GE(end - position, std::min(kPrefillRowsMin, prompt)) << prompt << " at " << position;
      ASSERT_LE(end - position, 512);
      position = end;
    }
  }
}

// What is reused ends anywhere; only what is left may be short as a whole.
TEST(Plan, WhereverItBeginsNoChunkHasAFewRows) {
  for (const std::int32_t chunk : {16, 32, 128, 512}) {
    for (std::int32_t begin = 0; begin < 520; ++begin) {
      for (const std::int32_t rest : {8, 9, 15, 16, 17, 23, 24, 25, 40, 100, 600}) {
        for (std::int32_t position = begin; position < begin + rest;) {
          const std::int32_t end = prefill_chunk_end(position, begin + rest, chunk);
          ASSERT_GE(end - position, kPrefillRowsMin) << rest << " from " << begin << " in chunks of " << chunk;
          ASSERT_LE(end - position, std::max(chunk, 16 + 2 * kPrefillRowsMin));
          position = end;
        }
      }
    }
  }
}

TEST(Plan, TheChunkFollowsTheMeasuredRate) {
  using namespace std::chrono_literals;
  EXPECT_EQ(prefill_chunk(0, 200ms, 512, true), 16);
  EXPECT_EQ(prefill_chunk(50, 200ms, 512, true), 16);
  EXPECT_EQ(prefill_chunk(400, 200ms, 512, true), 64);
  EXPECT_EQ(prefill_chunk(1e6, 200ms, 512, true), 512);
  EXPECT_EQ(prefill_chunk(50, 200ms, 512, false), 512);
}

}  // namespace
}  // namespace pensieve
