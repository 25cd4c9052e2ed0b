#include "api/openai/writers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pensieve::openai {
namespace {

using Json = nlohmann::json;

const std::vector<StreamEvent> kAnswer = {Started{7, 2}, Thinking{"hm", {1, 2}, 0}, Text{"one ", {3}, 0}, Text{"two", {4}, 0}, ToolCallBegun{"call_1", "f", {5}, 0},
                                          ToolInput{R"({"x":)", {6}, 0}, ToolInput{"1}", {7}, 0}, ToolCallEnded{{8}, 0}, Finished{FinishReason::tool_use, "", {7, 2, 9}, {}, 0, 0}};

Request request(bool usage = false) {
  Request made;
  made.asked.model = "m";
  made.include_usage = usage;
  made.echo = R"({"tools":[],"metadata":{}})";
  return made;
}

std::vector<Json> streamed(AnswerWriter& writer, bool named) {
  std::string all;
  for (const StreamEvent& event : kAnswer) all += writer.events_for(event, "req_1");
  std::vector<Json> events;
  while (!all.empty()) {
    const std::size_t end = all.find("\n\n");
    EXPECT_NE(end, std::string::npos);
    const std::string block = all.substr(0, end);
    all.erase(0, end + 2);
    const std::size_t data = block.find("data: ");
    if (block.substr(data + 6) == "[DONE]") {
      EXPECT_TRUE(all.empty());
      events.push_back("done");
      break;
    }
    events.push_back(Json::parse(block.substr(data + 6)));
    EXPECT_EQ(block.substr(0, data), named ? "event: " + events.back().at("type").get<std::string>() + "\n" : "");
  }
  return events;
}

TEST(ChatWriter, StreamsDeltasInOrder) {
  const auto events = streamed(*chat_writer("1", 5, request(true)), false);
  ASSERT_EQ(events.size(), 10u);
  const auto delta = [&](std::size_t i) { return events[i]["choices"][0]["delta"]; };
  EXPECT_EQ(events[0]["id"], "chatcmpl-1");
  EXPECT_EQ(events[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(delta(0)["role"], "assistant");
  EXPECT_EQ(delta(1)["reasoning_content"], "hm");
  EXPECT_EQ(delta(3)["content"], "two");
  EXPECT_EQ(delta(4)["tool_calls"][0], Json::parse(R"({"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}})"));
  EXPECT_EQ(delta(6)["tool_calls"][0], Json::parse(R"({"index":0,"function":{"arguments":"1}"}})"));
  EXPECT_EQ(events[7]["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(events[7]["usage"], nullptr);
  EXPECT_TRUE(events[8]["choices"].empty());
  EXPECT_EQ(events[8]["usage"]["total_tokens"], 16);
  EXPECT_EQ(events[8]["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
  EXPECT_EQ(events[8]["usage"]["completion_tokens_details"]["reasoning_tokens"], 2);
  EXPECT_EQ(events[9], "done");
}

TEST(ChatWriter, WholeIsTheSumOfItsDeltas) {
  const auto writer = chat_writer("1", 5, request());
  for (const StreamEvent& event : kAnswer) writer->collect(event);
  const Json reply = Json::parse(writer->whole(std::get<Finished>(kAnswer.back())));
  EXPECT_EQ(reply["choices"][0]["message"]["content"], "one two");
  EXPECT_EQ(reply["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], R"({"x":1})");
  EXPECT_EQ(reply["choices"][0]["finish_reason"], "tool_calls");
  EXPECT_EQ(reply["usage"]["completion_tokens"], 9);
}

TEST(ResponseWriter, ItemsOpenGrowAndClose) {
  const auto events = streamed(*response_writer("1", 5, request()), true);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i]["sequence_number"], i);
    names.push_back(events[i]["type"].get<std::string>().substr(9));
  }
  EXPECT_EQ(names, (std::vector<std::string>{"created", "in_progress", "output_item.added", "reasoning_text.delta", "reasoning_text.done", "output_item.done", "output_item.added", "content_part.added", "output_text.delta",
                                             "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
                                             "function_call_arguments.done", "output_item.done", "completed"}));
  const Json& output = events.back()["response"]["output"];
  ASSERT_EQ(output.size(), 3u);
  EXPECT_EQ(output[1]["content"][0]["text"], "one two");
  EXPECT_EQ(output[2]["arguments"], R"({"x":1})");
  EXPECT_EQ(events.back()["response"]["usage"]["total_tokens"], 16);

  const auto whole = response_writer("1", 5, request());
  for (const StreamEvent& event : kAnswer) whole->collect(event);
  EXPECT_EQ(Json::parse(whole->whole(std::get<Finished>(kAnswer.back()))), events.back()["response"]);
}

TEST(Writers, AFailureIsTold) {
  const Failed failed{{ErrorCode::internal, "the engine failed"}};
  EXPECT_NE(chat_writer("1", 5, request())->events_for(failed, "r").find(R"("message":"the engine failed")"), std::string::npos);
  EXPECT_NE(completion_writer("1", 5, request())->events_for(failed, "r").find(R"("type":"server_error")"), std::string::npos);
  EXPECT_NE(response_writer("1", 5, request())->events_for(failed, "r").find("event: response.failed"), std::string::npos);
}

TEST(Writers, BrokenBytesStayValidJson) {
  const auto writer = chat_writer("1", 5, request());
  const std::string line = writer->events_for(Text{"\xFF", {1}, 0}, "r");
  EXPECT_TRUE(Json::accept(line.substr(6, line.size() - 8)));
}

}  // namespace
}  // namespace pensieve::openai
