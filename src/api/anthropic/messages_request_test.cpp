#include "api/anthropic/messages_request.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include "api/anthropic/sealed_thinking.h"

namespace pensieve::anthropic {
namespace {

Result<MessagesRequest> parse(std::string_view body) { return parse_messages_request(body, Endpoint::messages); }

// A good request with these fields more.
std::string with(std::string_view fields) {
  return fmt::format(R"({{"model":"m","max_tokens":5,"messages":[{{"role":"user","content":"hi"}}],{}}})", fields);
}
// A good request with these messages.
std::string talk(std::string_view messages) { return fmt::format(R"({{"model":"m","max_tokens":5,"messages":{}}})", messages); }
std::string content(std::string_view blocks) { return talk(fmt::format(R"([{{"role":"user","content":{}}}])", blocks)); }

std::string texts(const MessagesRequest& request) {
  std::string line;
  for (const Message& message : request.prompt.messages) line += "SUA"[static_cast<int>(message.role)] + (":" + message.text()) + "|";
  return line;
}

TEST(MessagesRequest, ReadsAllFields) {
  const auto request = parse(with(
      R"("stream":true,"system":"be brief","temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.05,"repeat_penalty":1.1,"presence_penalty":-0.5,)"
      R"("frequency_penalty":0.25,"seed":42,"stop_sequences":["a","\n\n"])"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->model, "m");
  EXPECT_TRUE(request->stream);
  EXPECT_EQ(request->max_tokens, 5);
  EXPECT_EQ(texts(*request), "S:be brief|U:hi|");
  const Sampling sampling{0.5f, 40, 0.9f, 0.05f, 1.1f, -0.5f, 0.25f, 42};
  EXPECT_EQ(request->sampling, sampling);
  EXPECT_EQ(request->stop_sequences, (std::vector<std::string>{"a", "\n\n"}));
}

TEST(MessagesRequest, LeavesOutAreUnset) {
  const auto request = parse(with(R"("temperature":null)"));
  ASSERT_TRUE(request);
  EXPECT_FALSE(request->stream);
  EXPECT_EQ(request->sampling, Sampling{});
}

TEST(MessagesRequest, ToleratesWhatAgentsSend) {
  const auto request = parse(with(
      R"("thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"high"},"metadata":{"user_id":"u"},"context_management":{"edits":[]},)"
      R"("tools":[],"safeguards":{"x":1},"cache_control":{"type":"ephemeral"},"unheard_of":[1,2])"));
  EXPECT_TRUE(request) << request.error().message;
}

TEST(MessagesRequest, KeepsSystemMessagesInTheirPlaceAndMergesTurns) {
  const auto request = parse(talk(
      R"([{"role":"user","content":"a"},{"role":"user","content":"b"},{"role":"system","content":"mid"},{"role":"assistant","content":"c"},{"role":"user","content":"d"}])"));
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(texts(*request), "U:a\n\nb|S:mid|A:c|U:d|");
}

TEST(MessagesRequest, DropsTheBillingLineAndOldThinking) {
  const auto request = parse(
      R"({"model":"m","max_tokens":5,"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=2.1.330.abc;"},{"type":"text","text":"rules","cache_control":{"type":"ephemeral"}}],)"
      R"("messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"b"}]},{"role":"user","content":"c"}]})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(texts(*request), "S:rules|U:a|A:b|U:c|");
  EXPECT_EQ(request->normalised.at("billing_line"), 1);
  EXPECT_EQ(request->keep_seconds, 300);
  EXPECT_TRUE(request->prompt.messages[0].blocks[0].cache_mark);
  const auto without_rules = parse_messages_request(
      R"({"model":"m","max_tokens":5,"system":[{"type":"text","text":"x-anthropic-billing-header: x"}],"messages":[{"role":"user","content":"a"}]})", Endpoint::messages, false);
  EXPECT_EQ(texts(*without_rules), "S:x-anthropic-billing-header: x|U:a|");
}

const Prompt& prompt_of(const Result<MessagesRequest>& request) {
  EXPECT_TRUE(request) << request.error().message;
  return request->prompt;
}

TEST(MessagesRequest, ReadsCallsAndResults) {
  const auto request = parse(talk(
      R"([{"role":"user","content":"go"},)"
      R"({"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"I look."},{"type":"tool_use","id":"t1","name":"Read","input":{"z":1,"a":[true,null]},"caller":{"type":"direct"}}]},)"
      R"({"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","is_error":true,"content":[{"type":"text","text":"x"},{"type":"image","source":{}},{"type":"tool_reference","tool_name":"Late"}],"cache_control":{"type":"ephemeral","ttl":"1h"}},{"type":"tool_result","tool_use_id":"t2"},{"type":"text","text":"well?"}]}])"));
  const Prompt& prompt = prompt_of(request);
  const std::vector<Block> answer = {{ThinkingContent{"hm", "s"}}, {TextContent{"I look."}}, {ToolUseContent{"t1", "Read", R"({"z":1,"a":[true,null]})"}}};
  EXPECT_EQ(prompt.messages[1].blocks, answer);
  const std::vector<Block> results = {{ToolResultContent{"t1", "x\n\n[an image, which this model cannot see]", true, {"Late"}}, true}, {ToolResultContent{"t2", "", false, {}}}, {TextContent{"well?"}}};
  EXPECT_EQ(prompt.messages[2].blocks, results);
  EXPECT_EQ(request->keep_seconds, 3600);
}

TEST(MessagesRequest, ReadsToolsAndHowTheyMayBeCalled) {
  const auto request = parse(with(
      R"("tools":[{"name":"Read","description":"Reads","input_schema":{"type":"object","properties":{"z":{},"a":{}}},"strict":true,"eager_input_streaming":true,"input_examples":[{}],"allowed_callers":["direct"]},)"
      R"({"type":"custom","name":"Late","input_schema":{},"defer_loading":true},{"type":"bash_20250124","name":"bash"},{"type":"text_editor_20250728","name":"str_replace_based_edit_tool"},)"
      R"({"type":"web_search_20250305","name":"web_search","max_uses":8}],"tool_choice":{"type":"tool","name":"Read","disable_parallel_tool_use":true})"));
  const Prompt& prompt = prompt_of(request);
  ASSERT_EQ(prompt.tools.size(), 4u);
  EXPECT_EQ(prompt.tools[0], (Tool{"Read", "Reads", R"({"type":"object","properties":{"z":{},"a":{}}})", true, false}));
  EXPECT_TRUE(prompt.tools[1].deferred);
  EXPECT_NE(prompt.tools[2].input_schema.find("command"), std::string::npos);
  EXPECT_EQ(prompt.tool_choice, (ToolChoice{ToolChoice::Kind::tool, "Read", true}));
  EXPECT_EQ(request->normalised.at("dropped_tool"), 1);
  // Claude Code's inner search asks for a tool that is not there: it gets an answer in words.
  const auto search = parse(with(R"("tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"})"));
  EXPECT_EQ(prompt_of(search).tool_choice, ToolChoice{});
}

TEST(MessagesRequest, ReadsThinkingEffortAndSchema) {
  const auto request = parse(with(R"("thinking":{"type":"enabled","budget_tokens":2048,"display":"omitted"},"output_config":{"effort":"max","format":{"type":"json_schema","schema":{"type":"object"}}})"));
  const Prompt& prompt = prompt_of(request);
  EXPECT_EQ(prompt.thinking, (ThinkingSettings{ThinkingSettings::Kind::on, 2048, "max"}));
  EXPECT_TRUE(request->thinking_omitted);
  EXPECT_EQ(prompt.json_schema, R"({"type":"object"})");
  EXPECT_EQ(prompt_of(parse(with(R"("thinking":{"type":"between_tools"},"output_format":{"type":"json_schema","schema":{"enum":[1]}})"))).json_schema, R"({"enum":[1]})");
}

TEST(MessagesRequest, ThinkingThatWasSealedComesBack) {
  for (const std::string words : {"a", "ab", "abc", "abcd", "gr\xC3\xBC\xC3\x9F\n", ""}) {
    const auto opened = open_sealed_thinking(seal_thinking(words));
    ASSERT_TRUE(opened);
    EXPECT_EQ(*opened, words);
  }
  EXPECT_FALSE(open_sealed_thinking("EqQBCkYI"));
  EXPECT_FALSE(open_sealed_thinking("pensieve1.!!!!"));
  const auto request = parse(talk(fmt::format(R"([{{"role":"user","content":"a"}},{{"role":"assistant","content":[{{"type":"thinking","thinking":"","signature":"{}"}},{{"type":"text","text":"b"}}]}},{{"role":"user","content":"c"}}])", seal_thinking("hm"))));
  EXPECT_EQ(prompt_of(request).messages[1].blocks[0], (Block{ThinkingContent{"hm", ""}}));
}

TEST(MessagesRequest, UnknownBlocksKeepTheirTextAndNeverFail) {
  const auto request = parse(content(R"([{"type":"hologram","text":"words"},{"type":"container_upload","file_id":"f"},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"b"},{"type":"web_search_tool_result","content":[{}]}])"));
  EXPECT_EQ(texts(*request), "U:words\n\nb|");
  EXPECT_EQ(request->normalised.at("unknown_block"), 3);
  EXPECT_EQ(texts(*parse(content(R"([{"type":"document","title":"T","source":{"type":"text","media_type":"text/plain","data":"D"}},{"type":"search_result","title":"S","source":"http://x","content":[{"type":"text","text":"found"}]}])"))),
            "U:T\n\nD\n\nS\n\nhttp://x\n\nfound|");
}

TEST(MessagesRequest, APdfIsReadByTheCallerAndTheTextStandsInItsPlace) {
  const std::string body = content(R"([{"type":"document","title":"T","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}},{"type":"document","source":{"type":"url","url":"https://x/y"}},{"type":"text","text":"?"}])");
  const auto first = parse_messages_request(body, Endpoint::messages);
  ASSERT_TRUE(first.ok()) << first.error().message;
  ASSERT_EQ(first->unread.size(), 2u);
  EXPECT_EQ(first->unread[0].at, "messages.0.content.0");
  EXPECT_EQ(first->unread[0].kind, UnreadSource::Kind::pdf);
  EXPECT_EQ(first->unread[0].data, "%PDF-");
  EXPECT_EQ(first->unread[1].kind, UnreadSource::Kind::url);
  EXPECT_EQ(first->unread[1].data, "https://x/y");
  const ReadSources sources = {{"messages.0.content.0", Document{"pages"}}, {"messages.0.content.1", Document{"page"}}};
  const auto second = parse_messages_request(body, Endpoint::messages, true, sources);
  ASSERT_TRUE(second.ok()) << second.error().message;
  EXPECT_TRUE(second->unread.empty());
  EXPECT_EQ(second->prompt.messages[0].text(), "T\n\npages\n\npage\n\n?");
  const ReadSources failed = {{"messages.0.content.0", Error{ErrorCode::unavailable, "this PDF is too good"}}, {"messages.0.content.1", Document{"page"}}};
  const auto third = parse_messages_request(body, Endpoint::messages, true, failed);
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(third.error().message, "messages.0.content.0.source: this PDF is too good (capability_rejected: document_block)");
}

TEST(MessagesRequest, APrefillIsKept) { EXPECT_EQ(texts(*parse(talk(R"([{"role":"user","content":"a"},{"role":"assistant","content":"b"}])"))), "U:a|A:b|"); }

TEST(MessagesRequest, MaxTokensZeroOnlyReadsThePrompt) {
  EXPECT_EQ(parse(R"({"model":"m","max_tokens":0,"messages":[{"role":"user","content":"hi"}]})")->max_tokens, 0);
}

// The same words in another JSON shape are the same prompt: prefixes must not break.
TEST(MessagesRequest, ShapeDoesNotMatter) {
  EXPECT_EQ(texts(*parse(content(R"("a")"))), texts(*parse(content(R"([{"type":"text","text":"a","cache_control":{"type":"ephemeral"}}])"))));
}

TEST(MessagesRequest, CountNeedsNoMaxTokens) {
  EXPECT_TRUE(parse_messages_request(R"({"model":"m","messages":[{"role":"user","content":"hi"}]})", Endpoint::count_tokens));
}

TEST(MessagesRequest, HugeNumbersAreClampedNotRefused) {
  const auto request = parse(R"({"model":"m","max_tokens":9000000000,"messages":[{"role":"user","content":"hi"}]})");
  ASSERT_TRUE(request);
  EXPECT_EQ(request->max_tokens, INT32_MAX);
}

TEST(MessagesRequest, NestingIsBounded) {
  const std::string deep = with("\"x\":" + std::string(100000, '[') + std::string(100000, ']'));
  const auto request = parse(deep);
  ASSERT_FALSE(request);
  EXPECT_NE(request.error().message.find("nested"), std::string::npos);
  EXPECT_FALSE(parse(with("\"x\":" + std::string(100000, '['))));
  EXPECT_TRUE(parse(with("\"x\":" + std::string(40, '[') + std::string(40, ']'))));
}

TEST(MessagesRequest, ABadRequestNamesItsField) {
  std::string many = "\"stop_sequences\":[\"a\"";
  for (int i = 0; i < 64; ++i) many += ",\"a\"";
  const std::pair<std::string, const char*> cases[] = {
      {"", "not valid JSON"},
      {"{", "not valid JSON"},
      {"{}x", "not valid JSON"},
      {"[]", "JSON object"},
      {"\"text\"", "JSON object"},
      {"null", "JSON object"},
      {"{\"model\":\"\xFF\"}", "UTF-8"},
      {R"({"model":"\ud800"})", "not valid JSON"},
      {R"({"x":1e999})", "not valid JSON"},
      {"{}", "model"},
      {R"({"model":7})", "model"},
      {R"({"model":""})", "model"},
      {R"({"model":null,"max_tokens":5,"messages":[]})", "model"},
      {fmt::format(R"({{"model":"{}"}})", std::string(300, 'm')), "model"},
      {R"({"model":"m","messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"model":"m","max_tokens":-1,"messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"model":"m","max_tokens":1.5,"messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"model":"m","max_tokens":"5","messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"model":"m","max_tokens":18446744073709551615,"messages":[{"role":"user","content":"hi"}]})", "max_tokens"},
      {R"({"model":"m","max_tokens":5})", "messages"},
      {talk("7"), "messages"},
      {talk("{}"), "messages"},
      {talk("[]"), "messages"},
      {talk("[7]"), "messages.0"},
      {talk("[{}]"), "messages.0.role"},
      {talk(R"([{"role":7,"content":"a"}])"), "messages.0.role"},
      {talk(R"([{"role":"robot","content":"a"}])"), "messages.0.role"},
      {talk(R"([{"role":"user"}])"), "messages.0.content"},
      {talk(R"([{"role":"user","content":null}])"), "messages.0.content"},
      {talk(R"([{"role":"user","content":"a"},{"role":"user","content":8}])"), "messages.1.content"},
      {content("7"), "messages.0.content"},
      {content(R"("")"), "messages.0.content"},
      {content("[]"), "messages.0.content"},
      {content("[7]"), "messages.0.content.0"},
      {content("[{}]"), "messages.0.content.0.type"},
      {content(R"([{"type":7}])"), "messages.0.content.0.type"},
      {content(R"([{"type":"text"}])"), "messages.0.content.0.text"},
      {content(R"([{"type":"text","text":7}])"), "messages.0.content.0.text"},
      {content(R"([{"type":"text","text":"a"},{"type":"image","source":{}}])"), "messages.0.content.1.type"},
      {content(R"([{"type":"tool_use","id":"t","name":"n","input":{}}])"), "messages.0.content.0.type"},
      {with(R"("system":7)"), "system"},
      {with(R"("system":[{"type":"image"}])"), "system.0.type"},
      {with(R"("system":["a"])"), "system.0"},
      {with(R"("stream":"yes")"), "stream"},
      {with(R"("temperature":"hot")"), "temperature"},
      {with(R"("temperature":-0.1)"), "temperature"},
      {with(R"("temperature":2.1)"), "temperature"},
      {with(R"("top_p":1.1)"), "top_p"},
      {with(R"("top_k":-1)"), "top_k"},
      {with(R"("top_k":1.5)"), "top_k"},
      {with(R"("min_p":-1)"), "min_p"},
      {with(R"("repeat_penalty":0)"), "repeat_penalty"},
      {with(R"("presence_penalty":3)"), "presence_penalty"},
      {with(R"("frequency_penalty":-3)"), "frequency_penalty"},
      {with(R"("seed":-1)"), "seed"},
      {with(R"("seed":true)"), "seed"},
      {with(R"("stop_sequences":"a")"), "stop_sequences"},
      {with(R"("stop_sequences":[""])"), "stop_sequences.0"},
      {with(R"("stop_sequences":["a",7])"), "stop_sequences.1"},
      {with(many + "]"), "stop_sequences"},
      {with(R"("tools":{})"), "tools"},
      {with(R"("thinking":"on")"), "thinking"},
      {content(R"([{"type":"document","source":{}}])"), "messages.0.content.0.source.type"},
      {content(R"([{"type":"document","source":{"type":"base64","data":""}}])"), "document_block"},
      {content(R"([{"type":"image","source":{"type":"base64"}}])"), "image_block"},
      {content(R"([{"type":"tool_result","content":"a"}])"), "messages.0.content.0.tool_use_id"},
      {content(R"([{"type":"tool_result","tool_use_id":"t","content":7}])"), "messages.0.content.0.content"},
      {content(R"([{"type":"tool_result","tool_use_id":"t","content":[{"type":"text"}]}])"), "messages.0.content.0.content.0.text"},
      {content(R"([{"type":"tool_result","tool_use_id":"t","is_error":"no"}])"), "messages.0.content.0.is_error"},
      {content(R"([{"type":"thinking","thinking":"a"}])"), "messages.0.content.0.type"},
      {content(R"([{"type":"container_upload"}])"), "messages"},
      {talk(R"([{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":"x"}]},{"role":"user","content":"b"}])"), "messages.1.content.0.input"},
      {talk(R"([{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t","input":{}}]},{"role":"user","content":"b"}])"), "messages.1.content.0.name"},
      {talk(R"([{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]}])"), "tool_result"},
      {talk(R"([{"role":"system","content":"a"}])"), "messages"},
      {with(R"("tools":[7])"), "tools.0"},
      {with(R"("tools":[{"input_schema":{}}])"), "tools.0.name"},
      {with(R"("tools":[{"name":"a b","input_schema":{}}])"), "tools.0.name"},
      {with(R"("tools":[{"name":"t"}])"), "tools.0.input_schema"},
      {with(R"("tools":[{"name":"t","input_schema":{},"strict":1}])"), "tools.0.strict"},
      {with(R"("tools":[{"name":"t","input_schema":{}},{"name":"t","input_schema":{}}])"), "tools.1.name"},
      {with(R"("tool_choice":"auto")"), "tool_choice"},
      {with(R"("tool_choice":{"type":"some"})"), "tool_choice.type"},
      {with(R"("tool_choice":{"type":"any"})"), "tool_choice"},
      {with(R"("tool_choice":{"type":"tool","name":"x"},"tools":[{"name":"t","input_schema":{}}])"), "tool_choice.name"},
      {with(R"("thinking":{"type":"enabled","budget_tokens":0})"), "thinking.budget_tokens"},
      {with(R"("thinking":{})"), "thinking.type"},
      {with(R"("output_config":7)"), "output_config"},
      {with(R"("output_config":{"effort":7})"), "output_config.effort"},
      {with(R"("output_config":{"format":{"type":"xml"}})"), "output_config.format.type"},
      {with(R"("output_format":{"type":"json_schema"})"), "output_format.schema"},
      {with(R"("container":"c1")"), "container"},
      {with(R"("mcp_servers":[{"url":"x"}])"), "mcp_servers"},
  };
  for (const auto& [body, words] : cases) {
    const auto request = parse(body);
    ASSERT_FALSE(request) << body;
    EXPECT_EQ(request.error().code, ErrorCode::invalid_argument);
    EXPECT_NE(request.error().message.find(words), std::string::npos) << body.substr(0, 200) << " gave: " << request.error().message;
  }
}

// Whatever is cut off: an error, never a crash.
TEST(MessagesRequest, EveryTruncationIsRefused) {
  const std::string whole = with(R"("system":[{"type":"text","text":"é"}],"stop_sequences":["a"],"temperature":0.5)");
  for (std::size_t length = 0; length < whole.size(); ++length) EXPECT_FALSE(parse(whole.substr(0, length))) << length;
}

Result<MessagesRequest> parse_seeing(const std::string& content, bool sees = true) {
  return parse_messages_request(R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":)" + content + "}]}", Endpoint::messages, true, {}, sees);
}

TEST(MessagesRequest, ImagesStandWhereTheyStood) {
  const std::string image = R"({"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGVsbG8="}})";
  const auto request = parse_seeing(R"([{"type":"text","text":"a"},)" + image + R"(,{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"b"},)" + image + R"(,{"type":"text","text":"c"}]}])");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->prompt.images, (std::vector<std::string>{"hello", "hello"}));
  const std::vector<Block>& blocks = request->prompt.messages[0].blocks;
  ASSERT_EQ(blocks.size(), 3u);
  EXPECT_EQ(std::get<ImageContent>(blocks[1].content).image, 0);
  const auto& result = std::get<ToolResultContent>(blocks[2].content);
  EXPECT_EQ(result.text, "b\n\n\n\nc");
  EXPECT_EQ(result.images, (std::vector<ToolResultContent::Image>{{3, 1}}));
}

TEST(MessagesRequest, AnImageThatCannotBeTakenNamesItsField) {
  const auto message_of = [](const std::string& source, bool sees = true) {
    const auto request = parse_seeing(R"([{"type":"image","source":)" + source + "}]", sees);
    return request ? std::string("taken") : request.error().message;
  };
  EXPECT_EQ(message_of(R"({"type":"base64","media_type":"image/png","data":"aGVsbG8="})", false), "messages.0.content.0.type: 'image': this model cannot see (capability_rejected: image_block)");
  EXPECT_EQ(message_of(R"({"type":"base64","media_type":"image/tiff","data":"aGVsbG8="})"),
            R"(messages.0.content.0.source.media_type: must be 'image/png', 'image/jpeg', 'image/gif' or 'image/webp', not "image/tiff" (capability_rejected: image_block))");
  EXPECT_EQ(message_of(R"({"type":"file","file_id":"f"})"), "messages.0.content.0.source.type: 'file': images of the types base64 and url can be read (capability_rejected: image_block)");
  EXPECT_EQ(message_of(R"({"type":"url"})"), "messages.0.content.0.source.url: must be a URL of at most 2048 bytes (capability_rejected: image_block)");
  EXPECT_EQ(message_of(R"({"type":"url","url":"http://x/y.png"})", false), "messages.0.content.0.type: 'image': this model cannot see (capability_rejected: image_block)");
  EXPECT_NE(message_of(R"({"type":"base64","media_type":"image/png","data":"?"})").find("must be base64"), std::string::npos);
  EXPECT_NE(message_of("3").find("messages.0.content.0.source: must be an object"), std::string::npos);
  // In a tool's result the session goes on without it.
  const auto request = parse_seeing(R"([{"type":"tool_result","tool_use_id":"t","content":[{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"aGVsbG8="}}]}])");
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->prompt.images.empty());
  EXPECT_NE(std::get<ToolResultContent>(request->prompt.messages[0].blocks[0].content).text.find("an image that could not be read"), std::string::npos);
}

// Else the worker would get a line that it does not read.
TEST(MessagesRequest, AllImagesTogetherHaveABound) {
  const std::string image = R"({"type":"image","source":{"type":"url","url":"https://x/y.png"}})";
  const std::string document = R"({"type":"document","source":{"type":"url","url":"https://x/y.pdf"}})";
  const std::string body = R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[)" + image + "," + document + "]}]}";
  const auto with = [&](std::size_t image_bytes, Document pages) {
    return parse_messages_request(body, Endpoint::messages, true, {{"messages.0.content.0", Document{"", {std::string(image_bytes, 'x')}}}, {"messages.0.content.1", std::move(pages)}}, true);
  };
  EXPECT_EQ(with(31 << 20, {"words", {"page"}})->prompt.images.size(), 2u);
  EXPECT_EQ(with(33 << 20, {"words"}).error().message, "messages.0.content.0: goes beyond the 32 MiB that the images of a request may have together");
  const auto text = with(31 << 20, {"words", {std::string(2 << 20, 'x')}});
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->prompt.images.size(), 1u) << "of the document its text must do";
  EXPECT_EQ(with(31 << 20, {"", {std::string(2 << 20, 'x')}}).error().message,
            "messages.0.content.1.source.url: as pictures it goes beyond the 32 MiB that the images of a request may have together (capability_rejected: document_block)");
  std::string many = image;
  for (int i = 0; i < 100; ++i) many += "," + image;
  EXPECT_EQ(parse_seeing("[" + many + "]").error().message, "messages.0.content.100: goes beyond the 100 images that a request may bring");
}

TEST(MessagesRequest, AWebpImageIsDecodedByTheCaller) {
  // "RIFF....WEBP!", whatever it is called.
  for (const char* type : {"image/webp", "image/png"}) {
    const std::string body = std::string(R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":")") + type + R"(","data":"UklGRi4uLi5XRUJQIQ=="}}]}]})";
    const auto first = parse_messages_request(body, Endpoint::messages, true, {}, true);
    ASSERT_TRUE(first) << first.error().message;
    ASSERT_EQ(first->unread.size(), 1u);
    EXPECT_EQ(first->unread[0].kind, UnreadSource::Kind::webp);
    EXPECT_EQ(first->unread[0].data, "RIFF....WEBP!");
    const auto second = parse_messages_request(body, Endpoint::messages, true, {{first->unread[0].at, Document{"", {"png"}}}}, true);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_EQ(second->prompt.images, (std::vector<std::string>{"png"}));
    const auto failed = parse_messages_request(body, Endpoint::messages, true, {{first->unread[0].at, Error{ErrorCode::invalid_argument, "this image is no good"}}}, true);
    EXPECT_EQ(failed.error().message, "messages.0.content.0.source: this image is no good (capability_rejected: image_block)");
  }
}

TEST(MessagesRequest, AnImageByUrlIsFetchedByTheCaller) {
  const std::string image = R"({"type":"image","source":{"type":"url","url":"https://x/y.png"}})";
  const std::string body = R"({"model":"m","max_tokens":1,"messages":[{"role":"user","content":[)" + image + R"(,{"type":"tool_result","tool_use_id":"t","content":[)" + image + "]}]}]}";
  const auto first = parse_messages_request(body, Endpoint::messages, true, {}, true);
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_EQ(first->unread.size(), 2u);
  EXPECT_EQ(first->unread[0].at, "messages.0.content.0");
  EXPECT_EQ(first->unread[0].kind, UnreadSource::Kind::image_url);
  EXPECT_EQ(first->unread[1].at, "messages.0.content.1.content.0");
  EXPECT_EQ(first->unread[1].data, "https://x/y.png");
  ReadSources sources = {{first->unread[0].at, Document{"", {"one"}}}, {first->unread[1].at, Document{"", {"two"}}}};
  const auto second = parse_messages_request(body, Endpoint::messages, true, sources, true);
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_TRUE(second->unread.empty());
  EXPECT_EQ(second->prompt.images, (std::vector<std::string>{"one", "two"}));
  // In a tool's result the session goes on without it; in a message it is refused.
  const Error why{ErrorCode::invalid_argument, "this URL is no good"};
  sources.insert_or_assign(first->unread[1].at, why);
  const auto third = parse_messages_request(body, Endpoint::messages, true, sources, true);
  ASSERT_TRUE(third) << third.error().message;
  EXPECT_NE(std::get<ToolResultContent>(third->prompt.messages[0].blocks[1].content).text.find("this URL is no good"), std::string::npos);
  sources.insert_or_assign(first->unread[0].at, why);
  EXPECT_EQ(parse_messages_request(body, Endpoint::messages, true, sources, true).error().message, "messages.0.content.0.source.url: this URL is no good (capability_rejected: image_block)");
}

}  // namespace
}  // namespace pensieve::anthropic
