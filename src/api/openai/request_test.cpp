#include "api/openai/request.h"

#include <gtest/gtest.h>

#include <random>

namespace pensieve::openai {
namespace {

const ToolUseContent& call_of(const Message& message, std::size_t block) { return std::get<ToolUseContent>(message.blocks.at(block).content); }
const ToolResultContent& result_of(const Message& message, std::size_t block) { return std::get<ToolResultContent>(message.blocks.at(block).content); }

TEST(ChatRequest, ReadsAWholeConversation) {
  const auto read = parse_chat(R"({"model":"m","stream":true,"stream_options":{"include_usage":true},"max_completion_tokens":7,"max_tokens":9,
    "temperature":0.5,"top_p":0,"seed":-3,"stop":["a",""],"parallel_tool_calls":false,"reasoning_effort":"minimal",
    "messages":[{"role":"developer","content":"be brief"},{"role":"user","content":[{"type":"text","text":"one"},{"type":"text","text":"two"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},{"id":"c2","type":"function","function":{"name":"f","arguments":""}}]},
      {"role":"tool","tool_call_id":"c1","content":"r1"},{"role":"tool","tool_call_id":"c2","content":[{"type":"text","text":"r2"}]}],
    "tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"z":{},"a":{}}},"strict":true}}],
    "tool_choice":{"type":"function","function":{"name":"f"}}})");
  ASSERT_TRUE(read.ok()) << read.error().message;
  const Asked& asked = read->asked;
  EXPECT_TRUE(asked.stream && read->include_usage);
  EXPECT_EQ(asked.max_tokens, 7);
  EXPECT_EQ(asked.sampling.seed, static_cast<std::uint64_t>(-3));
  EXPECT_EQ(asked.stop_sequences, std::vector<std::string>{"a"});
  EXPECT_EQ(asked.prompt.thinking.effort, "low");
  const auto& messages = asked.prompt.messages;
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].role, Role::system);
  EXPECT_EQ(messages[1].text(), "one\n\ntwo");
  EXPECT_EQ(call_of(messages[2], 0).input, R"({"x":1})");
  EXPECT_EQ(call_of(messages[2], 1).input, "{}");
  EXPECT_EQ(messages[3].role, Role::user);
  EXPECT_EQ(result_of(messages[3], 1).text, "r2") << "results in a row are one message";
  ASSERT_EQ(asked.prompt.tools.size(), 1u);
  EXPECT_EQ(asked.prompt.tools[0].input_schema, R"({"type":"object","properties":{"z":{},"a":{}}})") << "the order of properties is kept";
  EXPECT_TRUE(asked.prompt.tools[0].strict);
  EXPECT_EQ(asked.prompt.tool_choice, (ToolChoice{ToolChoice::Kind::tool, "f", true}));
}

std::string chat_error(const std::string& more, const std::string& messages = R"([{"role":"user","content":"x"}])") {
  const auto read = parse_chat(R"({"model":"m","messages":)" + messages + more + "}");
  EXPECT_FALSE(read.ok()) << more << messages;
  return read.ok() ? "" : read.error().message;
}

TEST(ChatRequest, ComplaintsNameTheField) {
  EXPECT_EQ(chat_error(R"(,"n":2)"), "n: only one choice is made here");
  EXPECT_EQ(chat_error(R"(,"logprobs":true)"), "logprobs: log probabilities are not reported here");
  EXPECT_EQ(chat_error(R"(,"temperature":3)"), "temperature: must be a number from 0 to 2");
  EXPECT_EQ(chat_error(R"(,"max_tokens":0)"), "max_tokens: must be an integer of at least 1");
  EXPECT_EQ(chat_error(R"(,"stream":1)"), "stream: must be true or false");
  EXPECT_EQ(chat_error(R"(,"tools":[{"type":"function","function":{}}])"), "tools.0.function.name: field required");
  EXPECT_EQ(chat_error(R"(,"tools":[{"type":"custom"}])"), "tools.0.type: 'custom' tools cannot run here; only function");
  EXPECT_EQ(chat_error(R"(,"tool_choice":"required")"), "tool_choice: 'required' needs tools");
  EXPECT_EQ(chat_error(R"(,"tool_choice":{"type":"function","function":{"name":"g"}})"), "tool_choice: 'g' is none of the tools");
  EXPECT_EQ(chat_error(R"(,"response_format":{"type":"xml"})"), "response_format.type: must be text, json_object or json_schema");
  EXPECT_EQ(chat_error(R"(,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"strin"}}})"),
            "response_format.json_schema.schema: type 'strin' is none of object, array, string, integer, number, boolean, null");
  EXPECT_EQ(chat_error("", "[]"), "messages: must be a non-empty array");
  EXPECT_EQ(chat_error("", R"([{"role":"robot","content":"x"}])"), "messages.0.role: must be system, developer, user, assistant or tool");
  EXPECT_EQ(chat_error("", R"([{"role":"user"}])"), "messages.0.content: field required");
  EXPECT_EQ(chat_error("", R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])"), "messages.0.content.0.type: 'image_url': this model cannot see");
  EXPECT_EQ(chat_error("", R"([{"role":"system","content":[{"type":"image_url","image_url":{}}]}])"), "messages.0.content.0.type: 'image_url' is not read here; this server reads text");
  EXPECT_EQ(chat_error("", R"([{"role":"user","content":[{"type":"input_audio"}]}])"), "messages.0.content.0.type: 'input_audio' is not read here; this server reads text and images");
  EXPECT_EQ(chat_error("", R"([{"role":"tool","content":"x"}])"), "messages.0.tool_call_id: field required");
}

TEST(ChatRequest, HarmlessValuesPass) {
  EXPECT_TRUE(parse_chat(R"({"model":"m","messages":[{"role":"user","content":"x"}],"n":1,"logprobs":false,"logit_bias":{},"user":"u","store":true,"metadata":{"a":"b"},"service_tier":"auto","future":[1]})").ok());
}

TEST(CompletionRequest, TextOrTokens) {
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":"once"})")->asked.prompt.text, "once");
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":["once"]})")->asked.prompt.text, "once");
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":[1,2]})")->asked.prompt.tokens, (std::vector<TokenId>{1, 2}));
  for (const char* bad : {R"({"model":"m"})", R"({"model":"m","prompt":""})", R"({"model":"m","prompt":["a","b"]})", R"({"model":"m","prompt":[-1]})", R"({"model":"m","prompt":"x","echo":true})", R"({"model":"m","prompt":"x","suffix":"y"})"}) {
    EXPECT_FALSE(parse_completion(bad).ok()) << bad;
  }
}

TEST(ResponseRequest, ReadsItems) {
  const auto read = parse_response(R"({"model":"m","instructions":"sys","max_output_tokens":5,"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"integer"}}},
    "input":[{"role":"user","content":[{"type":"input_text","text":"q"}]},{"type":"reasoning","id":"rs_1","summary":[]},
      {"type":"function_call","call_id":"c1","name":"f","arguments":"not json"},{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
      {"type":"function_call_output","call_id":"c1","output":"one"},{"type":"function_call_output","call_id":"c2","output":"two"}],
    "tools":[{"type":"function","name":"f","parameters":null}]})");
  ASSERT_TRUE(read.ok()) << read.error().message;
  const auto& messages = read->asked.prompt.messages;
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].text(), "sys");
  EXPECT_EQ(messages[2].blocks.size(), 2u);
  EXPECT_EQ(call_of(messages[2], 0).input, R"({"arguments":"not json"})");
  EXPECT_EQ(messages[3].blocks.size(), 2u);
  EXPECT_EQ(read->asked.prompt.json_schema, R"({"type":"integer"})");
  EXPECT_FALSE(parse_response(R"({"model":"m","input":"x","previous_response_id":"resp_1"})").ok());
  EXPECT_FALSE(parse_response(R"({"model":"m"})").ok());
}

TEST(ChatRequest, ImagesStandWhereTheyStood) {
  const auto read = parse_chat(R"({"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"},
    {"type":"image_url","image_url":{"url":"data:image/png;base64,aGVsbG8=","detail":"high"}},{"type":"text","text":"c"}]},
    {"role":"assistant","content":"","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"t","content":[{"type":"text","text":"d"},{"type":"image_url","image_url":{"url":"data:image/jpeg;name=x;base64,d29ybGQ="}}]}]})", true);
  ASSERT_TRUE(read.ok()) << read.error().message;
  const Prompt& prompt = read->asked.prompt;
  EXPECT_EQ(prompt.images, (std::vector<std::string>{"hello", "world"}));
  EXPECT_EQ(prompt.messages[0].blocks, (std::vector<Block>{{TextContent{"a\n\nb"}}, {ImageContent{0}}, {TextContent{"c"}}}));
  EXPECT_EQ(result_of(prompt.messages[2], 0).text, "d\n\n");
  EXPECT_EQ(result_of(prompt.messages[2], 0).images, (std::vector<ToolResultContent::Image>{{3, 1}}));
}

TEST(ChatRequest, AnImageThatCannotBeTakenNamesItsField) {
  const auto message_of = [](const std::string& url) {
    const auto read = parse_chat(R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":")" + url + R"("}}]}]})", true);
    return read.ok() ? "taken" : read.error().message;
  };
  EXPECT_EQ(message_of("data:image/gif;base64,aGVsbG8="), "taken");
  EXPECT_EQ(message_of("https://x/y.png"), "messages.0.content.0.image_url.url: images are read from data: URLs (data:image/png;base64,...), not fetched");
  EXPECT_EQ(message_of(""), "messages.0.content.0.image_url.url: images are read from data: URLs (data:image/png;base64,...), not fetched");
  for (const char* url : {"data:", "data:,", "data:image/png,x", "data:image/png;base64", "data:;base64;x,aGVsbG8="}) EXPECT_EQ(message_of(url), "messages.0.content.0.image_url.url: must be a data: URL in base64 (data:image/png;base64,...)") << url;
  EXPECT_EQ(message_of("data:image/webp;base64,aGVsbG8="), "messages.0.content.0.image_url.url: must be of the type image/png, image/jpeg or image/gif, not 'image/webp'");
  EXPECT_EQ(message_of("data:image/png;base64,"), "messages.0.content.0.image_url.url: must be base64 (RFC 4648, with + and /), and not empty");
  const std::string part = R"({"type":"image_url","image_url":{"url":"data:image/png;base64,aGVsbG8="}})";
  std::string many = part;
  for (int i = 0; i < 100; ++i) many += "," + part;
  EXPECT_EQ(parse_chat(R"({"model":"m","messages":[{"role":"user","content":[)" + many + "]}]}", true).error().message, "messages.0.content.100.image_url.url: goes beyond the 100 images that a request may bring");
}

TEST(ResponseRequest, ReadsImages) {
  const auto read = parse_response(R"({"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,aGVsbG8=","detail":"auto","file_id":null},{"type":"input_text","text":"q"}]},
    {"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":[{"type":"input_image","image_url":"data:image/png;base64,d29ybGQ="},{"type":"input_text","text":"r"}]}]})", true);
  ASSERT_TRUE(read.ok()) << read.error().message;
  const Prompt& prompt = read->asked.prompt;
  EXPECT_EQ(prompt.images, (std::vector<std::string>{"hello", "world"}));
  EXPECT_EQ(prompt.messages[0].blocks, (std::vector<Block>{{ImageContent{0}}, {TextContent{"q"}}}));
  EXPECT_EQ(result_of(prompt.messages[2], 0).images, (std::vector<ToolResultContent::Image>{{0, 1}}));
  const auto file = parse_response(R"({"model":"m","input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]})", true);
  EXPECT_EQ(file.error().message, "input.0.content.0.file_id: files are not kept here; send the image as a data: URL");
  EXPECT_EQ(parse_response(R"({"model":"m","input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]})").error().message, "input.0.content.0.type: 'input_image': this model cannot see");
}

// Pieces of valid bodies, thrown together: every outcome is fine but a crash.
TEST(OpenAiRequests, HostileBodiesAreAnsweredOrRefused) {
  const std::vector<std::string> words = {"{", "}", "[", "]", ",", ":", "\"messages\"", "\"content\"", "\"role\"", "\"user\"", "\"tool\"", "\"tools\"", "\"function\"", "null", "1", "-1e999", "true", "\"type\"", "\"input\"", "\"text\"", "\"\\ud800\"", "\xFF", "\"model\"", "\"prompt\"", "\"tool_calls\"", "\"arguments\"", "\"image_url\"", "\"input_image\"", "\"url\"", "\"data:image/png;base64,QQ==\""};
  std::mt19937_64 random(20261125);
  for (int round = 0; round < 20000; ++round) {
    std::string body = round % 2 == 0 ? R"({"model":"m","messages":[{"role":"user","content":)" : "{";
    for (std::uint64_t i = 0, count = random() % 12; i < count; ++i) body += words[random() % words.size()];
    if (round % 2 == 0) body += "}]}";
    for (const auto parse : {parse_chat, parse_completion, parse_response}) {
      const auto read = parse(body, true);
      EXPECT_TRUE(read.ok() || !read.error().message.empty());
    }
  }
  // One field at a time, replaced by every kind of value.
  for (const char* field : {"messages", "tools", "tool_choice", "response_format", "stop", "stream_options", "reasoning", "text", "input", "prompt", "seed", "top_k"}) {
    for (const char* value : {"null", "1", "-1", "\"x\"", "[]", "{}", "[[]]", "[1]", "[null]", "[{}]", "{\"type\":1}", "{\"type\":\"function\"}", "{\"format\":1}", "18446744073709551615"}) {
      const std::string body = std::string(R"({"model":"m",")") + field + "\":" + value + "}";
      for (const auto parse : {parse_chat, parse_completion, parse_response}) {
        const auto read = parse(body, true);
        EXPECT_TRUE(read.ok() || !read.error().message.empty()) << body;
      }
    }
  }
}

}  // namespace
}  // namespace pensieve::openai
