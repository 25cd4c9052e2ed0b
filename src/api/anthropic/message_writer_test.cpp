#include "api/anthropic/message_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "api/anthropic/sealed_thinking.h"

namespace pensieve::anthropic {
namespace {

std::string all(MessageWriter& writer, std::initializer_list<StreamEvent> events) {
  std::string bytes;
  for (const StreamEvent& event : events) bytes += writer.events_for(event, "req_1");
  return bytes;
}

// Byte for byte: clients' parsers live on this.
TEST(MessageWriter, AStreamByteForByte) {
  MessageWriter writer("msg_1", "claude-x");
  const std::string bytes = all(writer, {Started{10, 4}, Prefilled{4, 10}, Text{"h\xC3\xA9\n", {1}, 5}, Text{"\"q\"", {2}, 6},
                                         Finished{FinishReason::stop_sequence, "END", {10, 4, 3}, {}, 1, 2}});
  EXPECT_EQ(bytes,
            "event: message_start\n"
            "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-x\",\"content\":[],"
            "\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"container\":null,\"diagnostics\":null,"
            "\"usage\":{\"input_tokens\":6,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":4,\"output_tokens\":0}}}\n\n"
            "event: content_block_start\n"
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\",\"citations\":null}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\xC3\xA9\\n\"}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"\\\"q\\\"\"}}\n\n"
            "event: content_block_stop\n"
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
            "event: message_delta\n"
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"END\"},"
            "\"usage\":{\"input_tokens\":6,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":4,\"output_tokens\":3}}\n\n"
            "event: message_stop\n"
            "data: {\"type\":\"message_stop\"}\n\n");
}

TEST(MessageWriter, ThinkingTextAndACallAreBlocksOneAfterAnother) {
  MessageWriter writer("msg_1", "m");
  const std::string bytes = all(writer, {Started{1, 0}, Thinking{"hm", {1, 2}, 0}, Text{"So", {3}, 0}, ToolCallBegun{"toolu_1", "now", {4}, 0}, ToolInput{"{\"a\":", {}, 0},
                                         ToolInput{"1}", {}, 0}, ToolCallEnded{{}, 0}, Finished{FinishReason::tool_use, "", {1, 0, 4}, {}, 1, 2}});
  const std::string blocks = bytes.substr(bytes.find("event: content_block_start"));
  EXPECT_EQ(blocks,
            "event: content_block_start\n"
            "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n"
            "event: content_block_stop\n"
            "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
            "event: content_block_start\n"
            "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\",\"citations\":null}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"So\"}}\n\n"
            "event: content_block_stop\n"
            "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n"
            "event: content_block_start\n"
            "data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"now\",\"input\":{},\"caller\":{\"type\":\"direct\"}}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}\n\n"
            "event: content_block_delta\n"
            "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n"
            "event: content_block_stop\n"
            "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n"
            "event: message_delta\n"
            "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},"
            "\"usage\":{\"input_tokens\":1,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":4,\"output_tokens_details\":{\"thinking_tokens\":2}}}\n\n"
            "event: message_stop\n"
            "data: {\"type\":\"message_stop\"}\n\n");
}

TEST(MessageWriter, OmittedThinkingTravelsInTheSignature) {
  MessageWriter writer("msg_1", "m", true);
  const std::string bytes = all(writer, {Started{1, 0}, Thinking{"h", {1}, 0}, Thinking{"m", {2}, 0}, Text{"So", {3}, 0}});
  EXPECT_EQ(bytes.find("thinking_delta"), std::string::npos);
  EXPECT_NE(bytes.find("{\"type\":\"signature_delta\",\"signature\":\"" + seal_thinking("hm") + "\"}"), std::string::npos);
  MessageWriter whole("msg_1", "m", true);
  whole.collect(Thinking{"hm", {1}, 0});
  const auto message = nlohmann::json::parse(whole.whole(Finished{FinishReason::end_turn, "", {1, 0, 1}, {}, 0, 0}));
  EXPECT_EQ(message["content"][0]["thinking"], "");
  EXPECT_EQ(message["content"][0]["signature"], seal_thinking("hm"));
}

TEST(MessageWriter, ACallThatWasCutOffIsNeverClosed) {
  MessageWriter writer("msg_1", "m");
  const std::string bytes = all(writer, {Started{1, 0}, ToolCallBegun{"toolu_1", "now", {4}, 0}, ToolInput{"{", {}, 0}, Finished{FinishReason::max_tokens, "", {1, 0, 4}, {}, 1, 2}});
  EXPECT_EQ(bytes.find("content_block_stop"), std::string::npos);
  EXPECT_NE(bytes.find("message_stop"), std::string::npos);
  MessageWriter whole("msg_1", "m");
  whole.collect(Text{"a", {1}, 0});
  whole.collect(ToolCallBegun{"toolu_1", "now", {4}, 0});
  whole.collect(ToolInput{"{", {}, 0});
  EXPECT_EQ(nlohmann::json::parse(whole.whole(Finished{FinishReason::max_tokens, "", {1, 0, 4}, {}, 1, 2}))["content"].size(), 1u);
}

TEST(MessageWriter, AnAnswerWithoutWordsHasOneEmptyBlockAndAPrewarmNone) {
  MessageWriter writer("msg_1", "m");
  EXPECT_NE(all(writer, {Started{1, 0}, Finished{FinishReason::end_turn, "", {1, 0, 1}, {}, 1, 2}}).find("content_block_start"), std::string::npos);
  MessageWriter warm("msg_1", "m");
  EXPECT_EQ(all(warm, {Started{1, 0}, Finished{FinishReason::max_tokens, "", {1, 0, 0}, {}, 1, 2}}).find("content_block_start"), std::string::npos);
}

TEST(MessageWriter, AWholeMessageWithACall) {
  MessageWriter writer("msg_1", "m");
  for (const StreamEvent& event : {StreamEvent(Thinking{"hm", {1}, 0}), StreamEvent(Text{"So", {2}, 0}), StreamEvent(ToolCallBegun{"toolu_1", "now", {3}, 0}),
                                   StreamEvent(ToolInput{"{\"z\":1,\"a\":2}", {}, 0}), StreamEvent(ToolCallEnded{{}, 0})}) {
    writer.collect(event);
  }
  const auto message = nlohmann::ordered_json::parse(writer.whole(Finished{FinishReason::tool_use, "", {7, 0, 2}, {}, 0, 0}));
  EXPECT_EQ(message["content"].dump(),
            R"([{"type":"thinking","thinking":"hm","signature":""},{"type":"text","text":"So","citations":null},)"
            R"({"type":"tool_use","id":"toolu_1","name":"now","input":{"z":1,"a":2},"caller":{"type":"direct"}}])");
}

TEST(MessageWriter, AFailureIsAnErrorEvent) {
  MessageWriter writer("msg_1", "m");
  EXPECT_EQ(all(writer, {Failed{{ErrorCode::internal, "it broke"}}}),
            "event: error\n"
            "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"},\"request_id\":\"req_1\"}\n\n");
  EXPECT_NE(all(writer, {Failed{{ErrorCode::overloaded, ""}}}).find("overloaded_error"), std::string::npos);
}

TEST(MessageWriter, AMissOfTheCacheIsToldOnce) {
  const auto diagnose = [](const Started& started) { return std::optional(CacheMiss{"system_changed", started.input_tokens - started.cached_tokens}); };
  MessageWriter streamed("msg_1", "m", false, diagnose);
  const auto begun = nlohmann::json::parse(all(streamed, {Started{10, 4}}).substr(std::string("event: message_start\ndata: ").size()));
  EXPECT_EQ(begun["message"]["diagnostics"].dump(), R"({"cache_miss_reason":{"cache_missed_input_tokens":6,"type":"system_changed"}})");
  MessageWriter whole("msg_1", "m", false, diagnose);
  whole.collect(Started{10, 3});
  EXPECT_EQ(nlohmann::json::parse(whole.whole(Finished{}))["diagnostics"].dump(), R"({"cache_miss_reason":{"cache_missed_input_tokens":7,"type":"system_changed"}})");
  MessageWriter none("msg_1", "m", false, [](const Started&) { return std::optional<CacheMiss>(); });
  none.collect(Started{10, 3});
  EXPECT_TRUE(nlohmann::json::parse(none.whole(Finished{}))["diagnostics"].is_null());
}

TEST(MessageWriter, APing) { EXPECT_EQ(MessageWriter("id", "m").ping(), "event: ping\ndata: {\"type\":\"ping\"}\n\n"); }

TEST(MessageWriter, AWholeMessage) {
  MessageWriter writer("msg_1", "m");
  writer.collect(Text{"one ", {1}, 0});
  writer.collect(Text{"two", {2}, 0});
  const auto message = nlohmann::json::parse(writer.whole(Finished{FinishReason::max_tokens, "", {7, 0, 2}, {}, 0, 0}));
  EXPECT_EQ(message["content"][0]["text"], "one two");
  EXPECT_EQ(message["stop_reason"], "max_tokens");
  EXPECT_TRUE(message["stop_sequence"].is_null());
  EXPECT_EQ(message["usage"]["input_tokens"], 7);
  EXPECT_EQ(message["usage"]["output_tokens"], 2);
}

}  // namespace
}  // namespace pensieve::anthropic
