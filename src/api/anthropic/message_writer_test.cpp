#include "api/anthropic/message_writer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

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
            "\"stop_reason\":null,\"stop_sequence\":null,\"stop_details\":null,\"container\":null,"
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

TEST(MessageWriter, AFailureIsAnErrorEvent) {
  MessageWriter writer("msg_1", "m");
  EXPECT_EQ(all(writer, {Failed{{ErrorCode::internal, "it broke"}}}),
            "event: error\n"
            "data: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"it broke\"},\"request_id\":\"req_1\"}\n\n");
  EXPECT_NE(all(writer, {Failed{{ErrorCode::overloaded, ""}}}).find("overloaded_error"), std::string::npos);
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
