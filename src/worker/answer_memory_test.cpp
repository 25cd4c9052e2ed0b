#include "worker/answer_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "platform/failing_files.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

class AnswerMemoryTest : public ::testing::Test {
 protected:
  AnswerMemoryTest() {
    std::string name = (fs::temp_directory_path() / "pensieve-answers-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ + "/answers";
  }
  ~AnswerMemoryTest() override { fs::remove_all(folder_); }

  std::string bytes() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes; }

  std::string folder_, path_;
};

TEST_F(AnswerMemoryTest, FindsAnswersToWhatATextBeginsWith) {
  AnswerMemory memory;
  memory.keep(origin_of("first question"), "<think>", {1, 2, 3});
  memory.keep(origin_of("first question, its answer, second question"), "", {4, 5});
  memory.keep(origin_of("first question"), "", {9});
  memory.keep(origin_of("another"), "", {6});
  const auto found = memory.inside("first question, its answer, second question, more");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].tokens, std::vector<TokenId>({9})) << "the latest first";
  EXPECT_EQ(found[1].tokens, std::vector<TokenId>({1, 2, 3}));
  EXPECT_EQ(found[1].opening, "<think>");
  EXPECT_EQ(found[2].tokens, std::vector<TokenId>({4, 5}));
  EXPECT_EQ(found[2].prompt_bytes, 43u);
  EXPECT_TRUE(memory.inside("first question").empty()) << "nothing stands behind it";
  EXPECT_TRUE(memory.inside("First question, its answer").empty());
  EXPECT_TRUE(memory.inside("").empty());
}

TEST_F(AnswerMemoryTest, WhatIsNoOriginIsIgnored) {
  AnswerMemory memory;
  for (const char* origin : {"", "-", "12", "12-", "12-zz", "x-0123", "99999999999999999999-00000000000000000000000000000000"}) memory.keep(origin, "", {1});
  memory.keep(origin_of("a"), "", {});
  EXPECT_EQ(memory.size(), 0u);
}

// Every call to the disk fails once, or from there on: what is in memory stays, and what is found by the next
// process is what was kept, in its order.
TEST_F(AnswerMemoryTest, NothingWrongIsKnownWhicheverCallToTheDiskFails) {
  const auto text_of = [](int i) { return "prompt " + std::to_string(i) + std::string(static_cast<std::size_t>(i), '.'); };
  std::size_t outlived = 0;
  with_every_call_failing({ErrorCode::overloaded, ErrorCode::corrupt}, 100, [&](FailingFiles& files, int nth) {
    fs::remove(path_);
    for (int process = 0; process < 2; ++process) {
      AnswerMemory memory(files, path_);
      const std::size_t before = memory.size();
      EXPECT_LE(before, 4u);
      for (int i = 0; i < 4; ++i) memory.keep(origin_of(text_of(i)), "", {i, 77, 10 * process});
      EXPECT_EQ(memory.size(), before + 4) << "call " << nth;
    }
    const AnswerMemory after(real_files(), path_);
    outlived += after.size();
    for (int i = 0; i < 4; ++i) {
      for (const KnownAnswer& answer : after.inside(text_of(i) + "!")) {
        if (answer.prompt_bytes != text_of(i).size()) continue;
        ASSERT_EQ(answer.tokens.size(), 3u);
        EXPECT_EQ(answer.tokens[0], i) << "call " << nth;
      }
    }
  });
  EXPECT_GT(outlived, 20u) << "most failures cost little";
}

TEST_F(AnswerMemoryTest, OutlivesAProcessThatIsKilled) {
  AnswerMemory first(real_files(), path_);
  for (int i = 0; i < 5; ++i) first.keep(origin_of(std::string("prompt ") + std::to_string(i)), "", {i, 77});
  // `first` is not told that it ends.
  AnswerMemory second(real_files(), path_);
  EXPECT_EQ(second.size(), 5u);
  second.keep(origin_of("prompt 5"), "", {5, 77});
  AnswerMemory third(real_files(), path_);
  EXPECT_EQ(third.inside("prompt 5 and")[0].tokens, std::vector<TokenId>({5, 77}));
  EXPECT_EQ(third.inside("prompt 0 and")[0].tokens, std::vector<TokenId>({0, 77}));
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "no file is left over";
}

TEST_F(AnswerMemoryTest, ATornOrFlippedFileGivesNothingThatWasNotKept) {
  std::vector<KnownAnswer> kept;
  {
    AnswerMemory memory(real_files(), path_);
    for (int i = 0; i < 4; ++i) memory.keep(origin_of("prompt"), "<think>\n", {i, i + 1, i + 2});
    kept = memory.inside("prompt and more");
  }
  const std::string whole = bytes();
  const auto check = [&](const std::string& damaged, std::size_t at) {
    write(damaged);
    AnswerMemory memory(real_files(), path_);
    for (const KnownAnswer& answer : memory.inside("prompt and more")) EXPECT_NE(std::ranges::find(kept, answer), kept.end()) << at;
    memory.keep(origin_of("new"), "", {8});
    EXPECT_EQ(AnswerMemory(real_files(), path_).inside("new one").size(), 1u) << at;
  };
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    check(flipped, at);
    check(whole.substr(0, at), at);
  }
  check(whole + std::string(100, '\xff'), whole.size());
}

TEST_F(AnswerMemoryTest, KeepsABoundedNumber) {
  AnswerMemory memory(real_files(), path_);
  const std::vector<TokenId> long_answer(kAnswerTokensMax / 4, 7);
  for (int i = 0; i < 9; ++i) memory.keep(origin_of("prompt"), "", long_answer);
  EXPECT_EQ(memory.size(), 4u);
  for (std::size_t i = 0; i < kAnswersMax + 10; ++i) memory.keep(origin_of("prompt"), "", {1});
  EXPECT_EQ(memory.size(), kAnswersMax);
  for (int i = 0; i < 60; ++i) memory.keep(origin_of("prompt"), "", long_answer);
  EXPECT_LT(fs::file_size(path_), 40u << 20) << "the file is written anew before it grows without end";
}

TEST_F(AnswerMemoryTest, WithoutADiskItGoesOnInMemory) {
  AnswerMemory memory(real_files(), folder_ + "/no such folder/answers");
  memory.keep(origin_of("prompt"), "", {1});
  EXPECT_EQ(memory.inside("prompt and").size(), 1u);
}

}  // namespace
}  // namespace pensieve
