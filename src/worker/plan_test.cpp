#include "worker/plan.h"

#include <gtest/gtest.h>

#include <random>

#include "core/picture_token.h"

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

std::vector<TokenId> text(int count) { return std::vector<TokenId>(static_cast<std::size_t>(count), 7); }
std::vector<TokenId> picture(std::uint64_t of, int rows) { return picture_tokens({of * 0x9E3779B97F4A7C15ull, of, ~of, of << 17}, 0, rows); }
std::vector<TokenId> joined(std::initializer_list<std::vector<TokenId>> parts) {
  std::vector<TokenId> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST(Plan, PicturesAreNamedByTheirDigest) {
  const auto ids = picture(1, 40);
  EXPECT_TRUE(begins_picture(ids[0]));
  for (std::size_t i = 0; i < ids.size(); ++i) {
    EXPECT_TRUE(is_picture(ids[i]));
    EXPECT_EQ(begins_picture(ids[i]), i == 0);
  }
  EXPECT_EQ(picture(1, 40), ids);
  EXPECT_NE(picture_tokens({1, 2, 3, 4}, 0, 12), picture_tokens({1, 2, 3, 4}, 1, 12)) << "a part is not another part";
  // Any bit of the digest shows: in the first nine rows.
  const std::array<std::uint64_t, 4> digest = {11, 22, 33, 44};
  for (int bit = 0; bit < 256; ++bit) {
    auto other = digest;
    other[static_cast<std::size_t>(bit / 64)] ^= 1ull << (bit % 64);
    EXPECT_NE(picture_tokens(digest, 0, 9), picture_tokens(other, 0, 9)) << bit;
    EXPECT_EQ(picture_tokens(digest, 0, 4) == picture_tokens(other, 0, 4), bit >= 120) << bit;
  }
}

TEST(Plan, WhereAPromptWithPicturesIsGoneOnWith) {
  const auto prompt = joined({text(30), picture(1, 12), text(4), picture(2, 16), text(20)});
  EXPECT_EQ(segment_end(prompt, 0), 30);
  EXPECT_EQ(segment_end(prompt, 43), 46);
  EXPECT_EQ(segment_end(prompt, 62), 82);
  EXPECT_EQ(resume_at(prompt, 10, 8), 10);
  EXPECT_EQ(resume_at(prompt, 25, 8), 22) << "eight rows are left of the text before a picture";
  EXPECT_EQ(resume_at(prompt, 30, 8), 30);
  for (int inside = 31; inside < 42; ++inside) EXPECT_EQ(resume_at(prompt, inside, 8), 30) << "not in the midst of a picture";
  EXPECT_EQ(resume_at(prompt, 42, 8), 42);
  EXPECT_EQ(resume_at(prompt, 44, 8), 42) << "a short text between two is run whole";
  EXPECT_EQ(resume_at(prompt, 44, 1), 44);
  EXPECT_EQ(resume_at(prompt, 62, 8), 62);
  EXPECT_EQ(resume_at(prompt, 74, 8), 74);
  EXPECT_EQ(resume_at(text(100), 92, 8), 92) << "without pictures nothing changes";
}

TEST(Plan, StepsAreTheSameWhereverAPromptWithPicturesIsGoneOnWith) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<TokenId> prompt = text(static_cast<int>(random() % 60));
    for (unsigned i = random() % 4; i-- > 0;) prompt = joined({prompt, picture(random(), 4 + static_cast<int>(random() % 30)), text(static_cast<int>(random() % 40))});
    prompt = joined({prompt, text(20)});
    const auto size = static_cast<std::int32_t>(prompt.size());
    // By which kernel each row is run: pictures, many rows, few.
    const auto kernels = [&](std::int32_t position, std::int32_t chunk) {
      std::vector<char> by(prompt.size(), '.');
      while (position < size) {
        std::int32_t end = position;
        char kernel = 'p';
        if (is_picture(prompt[static_cast<std::size_t>(position)])) {
          EXPECT_TRUE(begins_picture(prompt[static_cast<std::size_t>(position)]));
          for (++end; end < size && is_picture(prompt[static_cast<std::size_t>(end)]) && !begins_picture(prompt[static_cast<std::size_t>(end)]);) ++end;
        } else {
          end = prefill_chunk_end(position, segment_end(prompt, position), chunk);
          kernel = end - position >= kPrefillRowsMin ? 'm' : 'f';
        }
        std::fill(by.begin() + position, by.begin() + end, kernel);
        position = end;
      }
      return by;
    };
    const auto cold = kernels(0, 512);
    for (std::int32_t length = 0; length <= size - 8; ++length) {
      const std::int32_t from = resume_at(prompt, length, 8);
      ASSERT_LE(from, length);
      const auto warm = kernels(from, length % 2 == 0 ? 16 : 512);
      ASSERT_TRUE(std::equal(warm.begin() + from, warm.end(), cold.begin() + from)) << "from " << from << " of " << size;
    }
  }
}

TEST(Plan, ABlockIsNotNamedByTooLittleOfAPicture) {
  for (const int rows_inside : {0, 1, 2, 3, 4, 5}) {
    const auto prompt = joined({text(256 - rows_inside), picture(1, 40), text(500)});
    EXPECT_EQ(nameable_blocks(prompt, 3, 256), rows_inside >= 1 && rows_inside <= 3 ? 0 : 3) << rows_inside;
  }
  EXPECT_EQ(nameable_blocks(joined({text(400), picture(1, 114), text(300)}), 3, 256), 3);
  EXPECT_EQ(nameable_blocks(joined({text(510), picture(1, 114), text(300)}), 3, 256), 1);
  EXPECT_EQ(nameable_blocks(joined({text(252), picture(1, 4), text(300)}), 2, 256), 2) << "one that ends there is whole";
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
