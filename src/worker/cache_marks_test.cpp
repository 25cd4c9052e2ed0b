#include "worker/cache_marks.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

class CacheMarksTest : public ::testing::Test {
 protected:
  CacheMarksTest() : chat_(*ChatTemplate::make("", engine_.facts().chat_template, engine_.vocabulary())), reader_(chat_, engine_.vocabulary(), answers_) {
    prompt_.messages = {
        {Role::system, std::vector<Block>{{TextContent{"rules of the house"}}, {TextContent{"and of the garden"}}}},
        {Role::user, std::vector<Block>{{TextContent{"a long text"}}, {TextContent{"a question"}}}},
        {Role::assistant, std::vector<Block>{{TextContent{"let me look"}}, {ToolUseContent{"toolu_1", "look", R"({"at":"it"})"}}}},
        {Role::user, std::vector<Block>{{ToolResultContent{"toolu_1", "forty-two", false, {}}}, {TextContent{"well?"}}}},
    };
    prompt_.tools = {{"look", "looks", R"({"type":"object"})"}, {"hear", "hears", R"({"type":"object"})"}};
  }

  // The vocabulary is bytes, so the tokens before a mark are text.
  std::vector<std::string> texts() {
    const auto tokens = reader_.read(prompt_)->tokens;
    std::vector<std::string> all;
    for (const std::int32_t at : cache_marks(reader_, prompt_, tokens)) {
      std::string text;
      for (int i = 0; i < at; ++i) text += tokens[static_cast<std::size_t>(i)] < 256 ? std::string(1, static_cast<char>(tokens[static_cast<std::size_t>(i)])) : "|";
      all.push_back(text);
    }
    return all;
  }

  FakeEngine engine_{FakeEngineOptions{}};
  AnswerMemory answers_;
  ChatTemplate chat_;
  PromptReader reader_;
  Prompt prompt_;
};

TEST_F(CacheMarksTest, WithoutMarksThereAreNone) { EXPECT_TRUE(texts().empty()); }

TEST_F(CacheMarksTest, TheyLieWhereTheMarkedBlockEnds) {
  for (const auto& [message, block, end] : {std::tuple{0, 0, "rules of the house"}, {0, 1, "and of the garden"}, {1, 0, "a long text"}, {1, 1, "a question"}, {2, 0, "let me look"}, {3, 0, "forty-two"}}) {
    Block& marked = prompt_.messages[static_cast<std::size_t>(message)].blocks[static_cast<std::size_t>(block)];
    marked.cache_mark = true;
    const auto found = texts();
    ASSERT_EQ(found.size(), 1u) << end;
    EXPECT_TRUE(found[0].ends_with(end)) << end << ": " << found[0];
    marked.cache_mark = false;
  }
}

TEST_F(CacheMarksTest, BehindACallAMarkLiesInItsTurn) {
  prompt_.messages[2].blocks[1].cache_mark = true;
  const auto found = texts();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("let me look"), std::string::npos);
  EXPECT_EQ(found[0].find("forty"), std::string::npos);
}

TEST_F(CacheMarksTest, OfToolsItIsBehindTheMarkedOne) {
  prompt_.tools[0].cache_mark = true;
  const auto found = texts();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("looks"), std::string::npos);
  EXPECT_EQ(found[0].find("hears"), std::string::npos);
}

TEST_F(CacheMarksTest, TheEndOfThePromptNeedsNoneAndFourAreEnough) {
  prompt_.messages[3].blocks[1].cache_mark = true;
  EXPECT_TRUE(texts().empty());
  for (Message& message : prompt_.messages) {
    for (Block& block : message.blocks) block.cache_mark = true;
  }
  const auto found = texts();
  ASSERT_GE(found.size(), 3u);
  EXPECT_LE(found.size(), kCacheMarksMax);
  EXPECT_TRUE(found.back().ends_with("forty-two")) << "the last ones count";
}

}  // namespace
}  // namespace pensieve
