#include "chat/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

const std::vector<Message> kTalk = {{Role::system, "S"}, {Role::user, "U"}, {Role::assistant, "A"}, {Role::user, "V"}};

std::string rendered(std::string_view choice, const std::string& from_model, const std::vector<Message>& messages) {
  const FakeEngine engine({});
  const auto made = ChatTemplate::make(choice, from_model, engine.vocabulary());
  if (!made) return "error: " + made.error().message;
  Prompt prompt;
  prompt.messages = messages;
  const auto rendered_prompt = made->render(prompt);
  return rendered_prompt ? rendered_prompt->text : "error: " + rendered_prompt.error().message;
}

TEST(ChatTemplate, TheModelsOwnIsUsed) {
  EXPECT_EQ(rendered("", "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}", kTalk), "[system:S][user:U][assistant:A][user:V]");
}

TEST(ChatTemplate, AModelWithoutOneGetsChatml) {
  EXPECT_EQ(rendered("", "", {{Role::user, "U"}}), "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, BuiltinsAreKnownByName) {
  EXPECT_EQ(rendered("phi3", "", {{Role::user, "U"}}), "<|user|>\nU<|end|>\n<|assistant|>\n");
  EXPECT_EQ(rendered("plain", "", {{Role::user, "U"}}), "user: U\nassistant:");
}

TEST(ChatTemplate, ASystemMessageBetweenTurnsStaysInPlace) {
  const std::vector<Message> talk = {{Role::user, "U"}, {Role::system, "S"}, {Role::user, "V"}};
  EXPECT_EQ(rendered("plain", "", talk), "user: U\nsystem: S\nuser: V\nassistant:");
}

TEST(ChatTemplate, AStrictTemplateGetsItFoldedIntoItsNeighbour) {
  const std::string strict =
      "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system must come first') }}{% endif %}"
      "[{{ m.role }}:{{ m.content }}]{% endfor %}";
  EXPECT_EQ(rendered("", strict, {{Role::user, "U"}, {Role::system, "S"}, {Role::assistant, "A"}, {Role::user, "V"}}),
            "[user:U\n\nS][assistant:A][user:V]");
}

ChatTemplate made(const std::string& source) {
  const FakeEngine engine({});
  auto chat = ChatTemplate::make("", source, engine.vocabulary());
  EXPECT_TRUE(chat) << (chat ? "" : chat.error().message);
  return *std::move(chat);
}

// A talk with a call, its result and words after it.
Prompt tool_talk() {
  Prompt prompt;
  prompt.tools = {{"get_weather", "Weather", R"({"type":"object","properties":{"city":{"type":"string"}}})"}};
  prompt.messages = {{Role::system, "Be brief."},
                     {Role::user, "Weather in Oslo?"},
                     {Role::assistant, std::vector<Block>{{ThinkingContent{"I look.", ""}}, {TextContent{"One moment."}}, {ToolUseContent{"toolu_1", "get_weather", R"({"city":"Oslo"})"}}}},
                     {Role::user, std::vector<Block>{{ToolResultContent{"toolu_1", "rain", false, {}}}}}};
  return prompt;
}

std::string demo_template() {
  std::ifstream file(std::string(PENSIEVE_SOURCE_DIR) + "/models/training/template.jinja");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ChatTemplate, TheDemosOwnTemplateShowsToolsCallsAndThinking) {
  const ChatTemplate chat = made(demo_template());
  EXPECT_TRUE(chat.abilities().tools);
  EXPECT_TRUE(chat.abilities().tool_results);
  EXPECT_TRUE(chat.abilities().system_inside);
  EXPECT_STREQ(chat.tool_syntax().name(), "hermes");
  Prompt prompt = tool_talk();
  const auto rendered_prompt = chat.render(prompt);
  ASSERT_TRUE(rendered_prompt) << rendered_prompt.error().message;
  EXPECT_EQ(rendered_prompt->text,
            "<|system|>\n<tools>\n"
            "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"description\": \"Weather\", \"parameters\": {\"type\": \"object\", "
            "\"properties\": {\"city\": {\"type\": \"string\"}}}}}\n"
            "</tools>\nBe brief.<|end|>\n<|user|>\nWeather in Oslo?<|end|>\n"
            "<|assistant|>\n<think>\nI look.\n</think>\n\nOne moment.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call><|end|>\n"
            "<|user|>\n<tool_response>\nrain\n</tool_response><|end|>\n<|assistant|>\n");
  EXPECT_EQ(rendered_prompt->opening, "");
  prompt.thinking.kind = ThinkingSettings::Kind::on;
  EXPECT_EQ(chat.render(prompt)->opening, "<think>\n");
  EXPECT_TRUE(chat.render(prompt)->text.ends_with("<|assistant|>\n<think>\n"));
}

TEST(ChatTemplate, AToolThatMustBeCalledIsBegun) {
  const ChatTemplate chat = made(demo_template());
  Prompt prompt = tool_talk();
  prompt.thinking.kind = ThinkingSettings::Kind::on;
  prompt.tool_choice = {ToolChoice::Kind::tool, "get_weather", false};
  const auto rendered_prompt = chat.render(prompt);
  EXPECT_EQ(rendered_prompt->opening, "<tool_call>\n{\"name\": \"get_weather\", \"arguments\":");
  EXPECT_TRUE(rendered_prompt->text.ends_with("<|assistant|>\n" + rendered_prompt->opening));
  prompt.tool_choice = {ToolChoice::Kind::none, "", false};
  EXPECT_EQ(chat.render(prompt)->text.find("<tools>"), std::string::npos);
}

TEST(ChatTemplate, ATemplateWithoutToolsGetsThemInWords) {
  const std::string plain = "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}";
  const ChatTemplate chat = made(plain);
  EXPECT_FALSE(chat.abilities().tools);
  const std::string text = chat.render(tool_talk())->text;
  EXPECT_TRUE(text.starts_with("[system:# Tools\n")) << text;
  EXPECT_NE(text.find("\"name\": \"get_weather\""), std::string::npos);
  EXPECT_NE(text.find("Be brief.]"), std::string::npos);
  EXPECT_TRUE(text.ends_with("[assistant:One moment.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>]"
                             "[user:<tool_response>\nrain\n</tool_response>]"))
      << text;
}

TEST(ChatTemplate, ADeferredToolIsShownWhereAResultNamesIt) {
  const ChatTemplate chat = made(demo_template());
  Prompt before = tool_talk();
  Prompt after = before;
  after.tools.insert(after.tools.begin(), {"aaa_late", "Late", "{}", false, true});
  std::get<ToolResultContent>(after.messages[3].blocks[0].content).tool_references = {"aaa_late"};
  const std::string text = chat.render(after)->text;
  const std::size_t shared = chat.render(before)->text.find("rain");
  EXPECT_EQ(text.substr(0, shared), chat.render(before)->text.substr(0, shared));
  EXPECT_GT(text.find("aaa_late"), shared);
}

TEST(ChatTemplate, AResultAndWordsAfterItAndErrors) {
  const ChatTemplate chat = made(demo_template());
  Prompt prompt = tool_talk();
  prompt.messages[3].blocks = {{ToolResultContent{"toolu_1", "no such city", true, {}}}, {ToolResultContent{"toolu_1", "sun", false, {}}}, {TextContent{"Hurry."}}};
  EXPECT_TRUE(chat.render(prompt)->text.ends_with("<|user|>\n<tool_response>\nError: no such city\n</tool_response>\n<tool_response>\nsun\n</tool_response><|end|>\n"
                                                  "<|user|>\nHurry.<|end|>\n<|assistant|>\n"))
      << chat.render(prompt)->text;
}

TEST(ChatTemplate, ShortIdsWhereATemplateDemandsThem) {
  const ChatTemplate chat = made(
      "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{% if c.id|length != 9 %}{{ raise_exception('nine letters') }}{% endif %}"
      "[TOOL_CALLS][{\"name\": \"{{ c.function.name }}\", \"arguments\": {{ c.function.arguments|tojson }}, \"id\": \"{{ c.id }}\"}]{% endfor %}"
      "{% elif m.role == 'tool' %}[R {{ m.tool_call_id }} {{ m.content }}]{% else %}[{{ m.role }}:{{ m.content }}]{% endif %}{% endfor %}{{ tools|tojson }}");
  EXPECT_TRUE(chat.abilities().call_ids_short);
  EXPECT_STREQ(chat.tool_syntax().name(), "mistral");
  EXPECT_TRUE(chat.render(tool_talk())) << chat.render(tool_talk()).error().message;
}

TEST(ChatTemplate, APrefillIsContinued) {
  const ChatTemplate chat = made(demo_template());
  Prompt prompt;
  prompt.messages = {{Role::user, "Hi"}, {Role::assistant, "Hello, "}};
  prompt.thinking.kind = ThinkingSettings::Kind::on;
  EXPECT_EQ(chat.render(prompt)->text, "<|user|>\nHi<|end|>\n<|assistant|>\nHello, ");
}

TEST(ChatTemplate, ThinkingCanBeSwitchedOffWhereTheTemplateThinksByItself) {
  const ChatTemplate chat = made(
      "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:"
      "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}");
  Prompt prompt;
  prompt.messages = {{Role::user, "Hi"}};
  EXPECT_EQ(chat.render(prompt)->text, "[user:Hi][assistant:<think>\n\n</think>\n\n");
  EXPECT_EQ(chat.render(prompt)->opening, "");
  prompt.thinking.kind = ThinkingSettings::Kind::adaptive;
  EXPECT_EQ(chat.render(prompt)->text, "[user:Hi][assistant:");
}

TEST(ChatTemplate, ErrorsSayWhatIsWrong) {
  EXPECT_NE(rendered("", "{% for %}", kTalk).find("does not parse"), std::string::npos);
  EXPECT_NE(rendered("nonsense", "", kTalk).find("--chat-template: 'nonsense'"), std::string::npos);
  EXPECT_NE(rendered("", "{{ raise_exception('never') }}", kTalk).find("never"), std::string::npos);
}

}  // namespace
}  // namespace pensieve
