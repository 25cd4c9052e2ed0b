#include "api/anthropic/prompt_marks.h"

#include <gtest/gtest.h>

namespace pensieve::anthropic {
namespace {

Prompt conversation(int turns) {
  Prompt prompt;
  prompt.messages.emplace_back(Role::system, "Be brief.");
  for (int turn = 0; turn < turns; ++turn) {
    prompt.messages.emplace_back(Role::user, "question " + std::to_string(turn));
    prompt.messages.emplace_back(Role::assistant, std::vector<Block>{{TextContent{"hm"}}, {ToolUseContent{"toolu_1", "now", "{}"}}});
    prompt.messages.emplace_back(Role::user, std::vector<Block>{{ToolResultContent{"toolu_1", "noon", false, {}}}});
  }
  prompt.tools.push_back({"now", "tells the time", "{}"});
  return prompt;
}

class PromptMemoryTest : public ::testing::Test {
 protected:
  PromptMemoryTest() { memory_.keep("msg_1", marks_of(conversation(2), "m"), 1000); }
  std::optional<CacheMiss> miss(const Prompt& prompt, std::int32_t cached = 100, const char* model = "m", const char* id = "msg_1") {
    return memory_.compare(id, marks_of(prompt, model), Started{1500, cached});
  }
  PromptMemory memory_;
};

TEST_F(PromptMemoryTest, WhatWasReusedIsNoMiss) {
  EXPECT_EQ(miss(conversation(3), 1000), std::nullopt);
  EXPECT_EQ(miss(conversation(3), 992), std::nullopt);
  EXPECT_EQ(miss(conversation(2), 992), std::nullopt);
}

TEST_F(PromptMemoryTest, WhatChangedIsNamedTheFirstOfIt) {
  EXPECT_EQ(miss(conversation(3), 100, "another"), (CacheMiss{"model_changed", 900}));
  Prompt prompt = conversation(3);
  prompt.tools[0].description = "tells the hour";
  EXPECT_EQ(miss(prompt), (CacheMiss{"tools_changed", 900}));
  prompt.messages[0] = Message(Role::system, "Be long.");
  EXPECT_EQ(miss(prompt), (CacheMiss{"system_changed", 900}));
  prompt = conversation(3);
  std::get<ToolResultContent>(prompt.messages[3].blocks[0].content).text = "one";
  EXPECT_EQ(miss(prompt), (CacheMiss{"messages_changed", 900}));
  EXPECT_EQ(miss(conversation(1)), (CacheMiss{"messages_changed", 900})) << "turns were taken away";
  prompt = conversation(3);
  prompt.messages.insert(prompt.messages.begin() + 1, Message(Role::system, "And kind."));
  EXPECT_EQ(miss(prompt), (CacheMiss{"system_changed", 900}));
  prompt = conversation(3);
  prompt.messages.insert(prompt.messages.begin() + 2, Message(Role::system, "And kind."));
  EXPECT_EQ(miss(prompt), (CacheMiss{"messages_changed", 900}));
}

TEST_F(PromptMemoryTest, AnotherImageIsAChange) {
  const auto with = [](const char* first, const char* second) {
    Prompt prompt = conversation(2);
    prompt.images = {first, second};
    prompt.messages[1].blocks.push_back({ImageContent{0}});
    std::get<ToolResultContent>(prompt.messages[3].blocks[0].content).images = {{2, 1}};
    return prompt;
  };
  memory_.keep("msg_2", marks_of(with("cat", "dog"), "m"), 1000);
  EXPECT_EQ(miss(with("cat", "dog"), 100, "m", "msg_2"), (CacheMiss{"unavailable", {}}));
  EXPECT_EQ(miss(with("cow", "dog"), 100, "m", "msg_2"), (CacheMiss{"messages_changed", 900}));
  EXPECT_EQ(miss(with("cat", "cow"), 100, "m", "msg_2"), (CacheMiss{"messages_changed", 900}));
}

TEST_F(PromptMemoryTest, CacheMarksChangeNothing) {
  Prompt prompt = conversation(2);
  for (Message& message : prompt.messages) message.blocks.back().cache_mark = true;
  EXPECT_EQ(miss(prompt, 995), std::nullopt);
}

TEST_F(PromptMemoryTest, UnchangedButNotThereIsUnavailable) {
  EXPECT_EQ(miss(conversation(3), 0), (CacheMiss{"unavailable", {}}));
  Prompt prompt = conversation(3);
  prompt.thinking.kind = ThinkingSettings::Kind::on;
  EXPECT_EQ(miss(prompt, 0), (CacheMiss{"unavailable", {}})) << "settings are no change that the API has a word for";
}

TEST_F(PromptMemoryTest, OldMessagesAreForgotten) {
  EXPECT_EQ(miss(conversation(3), 0, "m", "msg_0"), (CacheMiss{"previous_message_not_found", {}}));
  for (std::size_t i = 0; i + 1 < PromptMemory::kPromptsKept; ++i) memory_.keep("other" + std::to_string(i), {}, 1);
  EXPECT_EQ(miss(conversation(2), 1000), std::nullopt);
  memory_.keep("one more", {}, 1);
  EXPECT_EQ(miss(conversation(2), 1000), (CacheMiss{"previous_message_not_found", {}}));
}

}  // namespace
}  // namespace pensieve::anthropic
