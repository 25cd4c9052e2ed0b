#include "worker/prompt_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

constexpr TokenId kEnd = 259;

class PromptReaderTest : public ::testing::Test {
 protected:
  PromptReaderTest()
      : chat_(*ChatTemplate::make("", engine_.facts().chat_template, engine_.vocabulary())), reader_(chat_, engine_.vocabulary(), answers_) {
    prompt_.tools = {{"look", "looks", R"({"type":"object","properties":{"at":{"type":"string"},"n":{"type":"integer"}}})", false, false}};
    prompt_.messages = {{Role::user, "question"}};
  }

  // The answer as ids that no tokeniser makes: a control token's text, byte for byte. Returns them.
  std::vector<TokenId> sampled(const std::string& text) {
    std::vector<TokenId> tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    const auto read = reader_.read(prompt_);
    auto with_end = tokens;
    with_end.push_back(kEnd);
    answers_.keep(read->origin, read->opening, with_end);
    return tokens;
  }

  ReadPrompt next_turn(std::vector<Block> answer) {
    Prompt next = prompt_;
    next.messages.emplace_back(Role::assistant, std::move(answer));
    next.messages.emplace_back(Role::user, "more");
    return *reader_.read(next);
  }

  bool has(const ReadPrompt& read, const std::vector<TokenId>& tokens) { return !std::ranges::search(read.tokens, tokens).empty(); }

  FakeEngine engine_{FakeEngineOptions{}};
  AnswerMemory answers_;
  ChatTemplate chat_;
  PromptReader reader_;
  Prompt prompt_;
};

TEST_F(PromptReaderTest, AnAnswerIsTakenAsItWasSampled) {
  const auto tokens = sampled("well, <|begin|> is a mark");
  const auto read = next_turn({Block{TextContent{"well, <|begin|> is a mark"}}});
  EXPECT_EQ(read.answers_recognised, 1);
  EXPECT_TRUE(has(read, tokens));
  // What stands before it is what was run then, and what follows begins with the mark of its end.
  const auto before = reader_.read(prompt_)->tokens;
  EXPECT_TRUE(std::ranges::equal(std::span(read.tokens).first(before.size()), before));
  EXPECT_EQ(read.tokens[before.size() + tokens.size()], kEnd);
}

TEST_F(PromptReaderTest, WithoutTheMemoryItIsTokenisedAnew) {
  const std::string text = "well, <|begin|> is a mark";
  EXPECT_FALSE(has(next_turn({Block{TextContent{text}}}), {text.begin(), text.end()}));
}

TEST_F(PromptReaderTest, AnotherAnswerIsNotMistakenForIt) {
  sampled("the answer");
  EXPECT_EQ(next_turn({Block{TextContent{"the answer!"}}}).answers_recognised, 0);
  EXPECT_EQ(next_turn({Block{TextContent{"the ans"}}}).answers_recognised, 0);
  EXPECT_EQ(next_turn({Block{TextContent{"the answer"}}}).answers_recognised, 1);
  prompt_.messages[0] = {Role::user, "another question"};
  EXPECT_EQ(next_turn({Block{TextContent{"the answer"}}}).answers_recognised, 0);
}

TEST_F(PromptReaderTest, OfTwoAnswersToOnePromptEachIsFound) {
  const auto first = sampled("one <|begin|>");
  const auto second = sampled("two <|begin|>");
  EXPECT_TRUE(has(next_turn({Block{TextContent{"one <|begin|>"}}}), first));
  EXPECT_TRUE(has(next_turn({Block{TextContent{"two <|begin|>"}}}), second));
}

TEST_F(PromptReaderTest, ACallIsRecognisedHoweverItWasSpelled) {
  const auto tokens = sampled("I look.\n\n<tool_call>{ \"arguments\":{\"n\":  3,\"at\":\"a\"},\"name\" : \"look\"}\n</tool_call>");
  const auto call = [](const char* input) { return Block{ToolUseContent{"toolu_1", "look", input}}; };
  const auto read = next_turn({Block{TextContent{"I look."}}, call(R"({"n":3,"at":"a"})")});
  EXPECT_EQ(read.answers_recognised, 1);
  EXPECT_TRUE(has(read, tokens));
  EXPECT_EQ(next_turn({Block{TextContent{"I look."}}, call(R"({"n":4,"at":"a"})")}).answers_recognised, 0);
  EXPECT_EQ(next_turn({call(R"({"n":3,"at":"a"})")}).answers_recognised, 0);
}

TEST_F(PromptReaderTest, EveryTurnOfAConversationIsTaken) {
  std::vector<std::vector<TokenId>> answers;
  for (int turn = 0; turn < 4; ++turn) {
    const std::string text = "turn <|begin|> " + std::to_string(turn);
    answers.push_back(sampled(text));
    prompt_.messages.emplace_back(Role::assistant, text);
    prompt_.messages.emplace_back(Role::user, "and then?");
  }
  const auto read = *reader_.read(prompt_);
  EXPECT_EQ(read.answers_recognised, 4);
  for (const auto& tokens : answers) EXPECT_TRUE(has(read, tokens));
}

TEST_F(PromptReaderTest, IdsOutsideTheVocabularyAreNeverTaken) {
  const auto read = reader_.read(prompt_);
  answers_.keep(read->origin, "", {'a', 5000, -3});
  EXPECT_EQ(next_turn({Block{TextContent{"a"}}}).answers_recognised, 0);
}

}  // namespace
}  // namespace pensieve
