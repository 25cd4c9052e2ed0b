#include "worker/prompt_reader.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "core/picture_token.h"
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

class SeeingReaderTest : public ::testing::Test {
 protected:
  SeeingReaderTest() : chat_(*ChatTemplate::make("", engine_.facts().chat_template, engine_.vocabulary())), reader_(chat_, engine_.vocabulary(), answers_, engine_.sight()) {
    prompt_.images = {"image of a cat", "image of a dog"};
    prompt_.messages = {{Role::user, {Block{TextContent{"before"}}, Block{ImageContent{0}}, Block{TextContent{"[image 1] behind"}}}},
                        {Role::assistant, {Block{ToolUseContent{"toolu_1", "look", "{}"}}}},
                        {Role::user, {Block{ToolResultContent{"toolu_1", "found: this one", false, {}, {{7, 1}}}}}}};
  }
  std::string text_of(const ReadPrompt& read) {
    std::string text;
    for (const TokenId token : read.tokens) text += is_picture(token) ? (begins_picture(token) ? "#" : "") : engine_.vocabulary().control_text(token);
    return text;
  }

  FakeEngine engine_{FakeEngineOptions{.sees = true}};
  AnswerMemory answers_;
  ChatTemplate chat_;
  PromptReader reader_;
  Prompt prompt_;
};

TEST_F(SeeingReaderTest, ImagesStandWhereTheyStood) {
  const auto read = reader_.read(prompt_);
  ASSERT_TRUE(read) << read.error().message;
  const std::string text = text_of(*read);
  EXPECT_NE(text.find("before\n\n#\n\n[image 1] behind"), std::string::npos) << text;
  EXPECT_NE(text.find("found: #this one"), std::string::npos) << text;
  ASSERT_EQ(read->pictures.size(), 2u);
  for (const PictureRows& picture : read->pictures) {
    EXPECT_EQ(picture.end - picture.begin, 12);
    EXPECT_TRUE(begins_picture(read->tokens[static_cast<std::size_t>(picture.begin)]));
  }
  EXPECT_EQ(read->pictures[1].image, 1);
  // The ids alone, with the images, say the same: as `generate` brings them.
  Prompt again;
  again.tokens = read->tokens;
  again.images = prompt_.images;
  EXPECT_EQ(reader_.read(again)->pictures, read->pictures);
  // Other pictures, other ids; nothing else differs.
  Prompt other = prompt_;
  other.images[0] = "image of a cow";
  const auto others = reader_.read(other);
  ASSERT_EQ(others->tokens.size(), read->tokens.size());
  const auto parting = std::ranges::mismatch(others->tokens, read->tokens).in1 - others->tokens.begin();
  EXPECT_EQ(parting, read->pictures[0].begin);
}

TEST_F(SeeingReaderTest, WhatCannotBeSeenIsRefused) {
  Prompt damaged = prompt_;
  damaged.images[1] = "image bad";
  EXPECT_EQ(reader_.read(damaged).error().message, "messages: image 2 of 2: this image is damaged: it could not be decoded (capability_rejected: image_block)");
  EXPECT_TRUE(reader_.read(damaged, false)) << "only counted, it is not decoded";
  damaged.images[1] = "something";
  EXPECT_EQ(reader_.read(damaged, false).error().code, ErrorCode::invalid_argument);
  Prompt tokens;
  tokens.tokens = reader_.read(prompt_)->tokens;
  tokens.images = {prompt_.images[0]};
  EXPECT_FALSE(reader_.read(tokens)) << "ids of an image that is not there";
  tokens.images.clear();
  EXPECT_FALSE(reader_.read(tokens));
  PromptReader blind(chat_, engine_.vocabulary(), answers_);
  EXPECT_EQ(blind.read(prompt_).error().message, "messages: this model cannot see (capability_rejected: image_block)");
}

}  // namespace
}  // namespace pensieve
