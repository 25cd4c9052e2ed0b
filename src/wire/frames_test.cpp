#include "wire/frames.h"

#include <gtest/gtest.h>

namespace pensieve::wire {
namespace {

template <typename T>
T round_trip(const T& command) {
  const std::string line = encode(Command{command});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const Result<Command> back = parse_command(line);
  EXPECT_TRUE(back) << (back ? "" : back.error().message);
  return std::get<T>(*back);
}

template <typename T>
T report_round_trip(const T& report) {
  const std::string line = encode(Report{report});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const Result<Report> back = parse_report(line);
  EXPECT_TRUE(back) << (back ? "" : back.error().message);
  return std::get<T>(*back);
}

template <typename T>
T event_round_trip(const T& event) {
  const Event back = report_round_trip(Event{RequestId{9}, event});
  EXPECT_EQ(back.id, RequestId{9});
  return std::get<T>(back.event);
}

TEST(Frames, CommandsComeBackAsTheyWere) {
  GenerateRequest request;
  request.id = RequestId{18446744073709551615u};
  request.prompt.messages = {{Role::system, "be\nbrief"}, {Role::user, "gr\xC3\xBC\xC3\x9F"}, {Role::assistant, ""}};
  request.sampling = {0.5f, 40, 0.9f, 0.05f, 1.1f, 0.25f, 0.125f, 18446744073709551615u};
  request.max_tokens = 7;
  request.stop_sequences = {"\n\n", "END"};
  EXPECT_EQ(round_trip(Generate{request}), Generate{request});
  Count count{RequestId{3}, {}, true};
  count.prompt.tokens = {1, 2, 3};
  EXPECT_EQ(round_trip(count), count);
  EXPECT_EQ(round_trip(Cancel{RequestId{4}}), Cancel{RequestId{4}});
  EXPECT_EQ(round_trip(Pause{RequestId{5}}), Pause{RequestId{5}});
  EXPECT_EQ(round_trip(Resume{RequestId{6}}), Resume{RequestId{6}});
  round_trip(Health{});
  EXPECT_EQ(round_trip(Memory{"critical"}), Memory{"critical"});
  round_trip(Shutdown{});
}

TEST(Frames, BlocksToolsAndSettingsComeBackAsTheyWere) {
  Generate generate;
  GenerateRequest& request = generate.request;
  request.id = RequestId{1};
  request.opening = "<think>\n";
  request.origin = "12-34";
  request.said = {7, 8};
  request.events_to_skip = 1;
  request.keep_seconds = 300;
  request.marks = {70, 900};
  request.hash_logits = true;
  Prompt& prompt = request.prompt;
  prompt.messages = {
      {Role::user, std::vector<Block>{{TextContent{"a"}, true}, {TextContent{""}}}},
      {Role::assistant, std::vector<Block>{{ThinkingContent{"hm", "sig"}}, {ThinkingContent{"", ""}}, {ToolUseContent{"toolu_1", "Read", R"({"b":1,"a":"\n"})"}}}},
      {Role::user, std::vector<Block>{{ToolResultContent{"toolu_1", "42", true, {"Other"}}}, {ToolResultContent{"toolu_2", "", false, {}}, true}}},
      {Role::assistant, std::vector<Block>{}},
  };
  prompt.tools = {{"Read", "Reads", R"({"type":"object"})", true, false}, {"Other", "", "{}", false, true, true}};
  prompt.tool_choice = {ToolChoice::Kind::tool, "Read", true};
  prompt.thinking = {ThinkingSettings::Kind::adaptive, 1024, "high"};
  prompt.json_schema = R"({"type":"array"})";
  EXPECT_EQ(round_trip(generate), generate);
  for (const auto kind : {ToolChoice::Kind::any, ToolChoice::Kind::none}) {
    prompt.tool_choice = {kind, "", false};
    EXPECT_EQ(round_trip(generate), generate);
  }
  for (const auto kind : {ThinkingSettings::Kind::off, ThinkingSettings::Kind::on}) {
    prompt.thinking = {kind, std::nullopt, ""};
    EXPECT_EQ(round_trip(generate), generate);
  }
}

TEST(Frames, ImagesComeBackAsTheyWere) {
  Generate generate;
  generate.request.id = RequestId{1};
  generate.request.prompt.images = {std::string("\x89PNG\0\xFF", 6), "second"};
  generate.request.prompt.messages = {{Role::user, {Block{TextContent{"look"}}, Block{ImageContent{1}}, Block{ToolResultContent{"t", "seen", true, {}, {{0, 0}, {4, 1}}}}}}};
  EXPECT_EQ(round_trip(generate), generate);
  Count count{RequestId{3}, {}, false};
  count.prompt.tokens = {1, -5, INT32_MIN};
  count.prompt.images = {"x"};
  EXPECT_EQ(round_trip(count), count);
  for (const char* images : {R"(["?"])", R"("QQ==")", "[1]"}) EXPECT_FALSE(parse_command(std::string(R"({"cmd":"count","id":1,"tokens":[1],"images":)") + images + "}")) << images;
  for (const char* places : {"[[9,0]]", "[[0]]", "[0]", "3"}) {
    EXPECT_FALSE(parse_command(std::string(R"({"cmd":"count","id":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x","images":)") + places + "}]}]}")) << places;
  }
}

TEST(Frames, InputsComeBackAsTheyWere) {
  const Embed embed{{RequestId{5}, {{"a \"text\"", {}}, {"", {1, 0, 7}}, {"", {}}}, 2}};
  EXPECT_EQ(round_trip(embed), embed);
  Count count{RequestId{3}, {}, true};
  count.prompt.inputs = {{"x", {}}, {"", {4}}};
  EXPECT_EQ(round_trip(count), count);
}

TEST(Frames, AVectorThatIsNoneIsRefused) {
  for (const char* values : {"\"AAA=\"", "\"?\"", "[1]", "null"}) EXPECT_FALSE(parse_report(std::string(R"({"event":"embedded","id":1,"index":0,"values":)") + values + "}")) << values;
}

TEST(Frames, ReportsComeBackAsTheyWere) {
  const Hello hello{2, "0.1.0", "0.7.0"};
  EXPECT_EQ(report_round_trip(hello), hello);
  const Ready ready{{"demo", "phi3", 12, 34, 56, 78}, 2, 4096, 99, "CPU", "model", "hermes", true, true, "/store", "why", true, "as it was tried", 384, "mean"};
  EXPECT_EQ(report_round_trip(ready), ready);
  const Counted counted{RequestId{2}, 2, {5, 6}, "<think>", "12-34", {1}, {{"", {7, 8}}}};
  EXPECT_EQ(report_round_trip(counted), counted);
  EXPECT_EQ(event_round_trip(Started{5, 2, 1}), (Started{5, 2, 1}));
  EXPECT_EQ(event_round_trip(Prefilled{5, 20}), (Prefilled{5, 20}));
  const Text text{"h\xC3\xA9", {1, 2}, 123456789012345};
  EXPECT_EQ(event_round_trip(text), text);
  const Thinking thinking{"hm", {1, 2}, 3};
  EXPECT_EQ(event_round_trip(thinking), thinking);
  const ToolCallBegun begun{"toolu_1", "Read", {1}, 2};
  EXPECT_EQ(event_round_trip(begun), begun);
  const ToolInput input{"{\"a", {3}, 4};
  EXPECT_EQ(event_round_trip(input), input);
  const ToolCallEnded ended{{5}, 6};
  EXPECT_EQ(event_round_trip(ended), ended);
  const Finished with_call{FinishReason::tool_use, "", {1, 1, 1}, {}, 0, 0};
  EXPECT_EQ(event_round_trip(with_call), with_call);
  const Finished finished{FinishReason::stop_sequence, "END", {10, 4, 3, 2}, {7}, 100, 200, "", {1, 0xfedcba9876543210}};
  EXPECT_EQ(event_round_trip(finished), finished);
  const Embedded embedded{3, {0.1f, -2.5e-20f, 0}, 40, 90};
  EXPECT_EQ(event_round_trip(embedded), embedded);
  const Failed failed = event_round_trip(Failed{{ErrorCode::overloaded, "no room"}});
  EXPECT_EQ(failed.error.code, ErrorCode::overloaded);
  EXPECT_EQ(failed.error.message, "no room");
  const HealthReport health{"ready", 1, 2, 3, 4, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, "full", 12, true, "beside another"}, {100.5, 50.25, 64, {0.125, 0, 0.5}}};
  EXPECT_EQ(report_round_trip(health), health);
  EXPECT_EQ(report_round_trip(Fatal{{ErrorCode::corrupt, "bad file"}}).error.message, "bad file");
}

TEST(Frames, IllFormedTextStaysAValidLine) {
  const Text back = event_round_trip(Text{"a\xFF", {1}, 0});
  EXPECT_EQ(back.text, "a\xEF\xBF\xBD");
}

TEST(Frames, ABadCommandNamesItsField) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "not JSON"},
      {"[]", "not a JSON object"},
      {"{}", "cmd"},
      {R"({"cmd":"dance"})", "cmd"},
      {R"({"cmd":7})", "cmd"},
      {R"({"cmd":"cancel"})", "id"},
      {R"({"cmd":"cancel","id":-1})", "id"},
      {R"({"cmd":"cancel","id":1.5})", "id"},
      {R"({"cmd":"cancel","id":"1"})", "id"},
      {R"({"cmd":"generate","id":1,"max_tokens":4})", "messages"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"messages":{}})", "messages"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"messages":[]})", "messages"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"messages":[7]})", "messages.0"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"messages":[{"role":"user","content":7}]})", "messages.0"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"messages":[{"role":"robot","content":""}]})", "messages.0.role"},
      {R"({"cmd":"generate","id":1,"messages":[{"role":"user","content":""}]})", "max_tokens"},
      {R"({"cmd":"generate","id":1,"max_tokens":-1,"tokens":[1]})", "max_tokens"},
      {R"({"cmd":"generate","id":1,"max_tokens":99999999999,"tokens":[1]})", "max_tokens"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"tokens":["a"]})", "tokens"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"tokens":[1],"temperature":"hot"})", "temperature"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"tokens":[1],"stop_sequences":[""]})", "stop_sequences"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"tokens":[1],"seed":-3})", "seed"},
      {R"({"cmd":"count","id":1,"tokens":[1],"wants_tokens":1})", "wants_tokens"},
      {R"({"cmd":"count","id":1,"messages":[{"role":"user","content":[7]}]})", "messages.0.content.0"},
      {R"({"cmd":"count","id":1,"messages":[{"role":"user","content":[{"type":"hologram"}]}]})", "messages.0.content.0"},
      {R"({"cmd":"count","id":1,"messages":[{"role":"user","content":[{"type":"tool_use","id":"a"}]}]})", "messages.0.content.0"},
      {R"({"cmd":"count","id":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","tool_references":[1]}]}]})", "messages.0.content.0"},
      {R"({"cmd":"count","id":1,"tokens":[1],"tools":{}})", "tools"},
      {R"({"cmd":"count","id":1,"tokens":[1],"tools":[1]})", "tools.0"},
      {R"({"cmd":"count","id":1,"tokens":[1],"tools":[{"name":"a"}]})", "tools.0"},
      {R"({"cmd":"count","id":1,"tokens":[1],"tool_choice":"some"})", "tool_choice"},
      {R"({"cmd":"count","id":1,"tokens":[1],"thinking":"maybe"})", "thinking"},
      {R"({"cmd":"generate","id":1,"max_tokens":4,"tokens":[1],"opening":1})", "opening"},
      {R"({"cmd":"embed","id":1})", "inputs"},
      {R"({"cmd":"embed","id":1,"inputs":[]})", "inputs"},
      {R"({"cmd":"embed","id":1,"inputs":"a"})", "inputs"},
      {R"({"cmd":"embed","id":1,"inputs":["a",7]})", "inputs"},
      {R"({"cmd":"embed","id":1,"inputs":[[1,"b"]]})", "inputs"},
      {R"({"cmd":"embed","id":1,"inputs":["a"],"done":2})", "done"},
      {R"({"cmd":"embed","id":1,"inputs":["a"],"done":-1})", "done"},
  };
  for (const auto& [line, field] : cases) {
    const Result<Command> command = parse_command(line);
    ASSERT_FALSE(command) << line;
    EXPECT_NE(command.error().message.find(field), std::string::npos) << line << " gave: " << command.error().message;
  }
}

}  // namespace
}  // namespace pensieve::wire
