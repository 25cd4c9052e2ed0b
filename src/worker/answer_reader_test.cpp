#include "worker/answer_reader.h"

#include <gtest/gtest.h>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

class AnswerReaderTest : public testing::Test {
 protected:
  AnswerReaderTest() {
    request_.prompt.tokens = {1, 2, 3};
    request_.prompt.tools = {{"now", "", "{}", false, false}};
    request_.sampling.seed = 7;
  }
  // Everything that `said` means, token by token (the fake's tokens are bytes).
  std::string read(const std::string& said, bool ended = true) {
    AnswerReader reader(chat_, engine_.vocabulary(), request_);
    std::string line;
    for (const char c : said) add(reader.push(static_cast<unsigned char>(c)), line);
    add(reader.finish(ended), line);
    stopped_by_ = reader.stopped_by();
    violation_ = reader.violation();
    called_ = reader.called();
    return line;
  }
  static void add(const std::vector<StreamEvent>& events, std::string& line) {
    for (const StreamEvent& event : events) {
      if (const auto* text = std::get_if<Text>(&event)) line += text->text;
      else if (const auto* thinking = std::get_if<Thinking>(&event)) line += "(" + thinking->text + ")";
      else if (const auto* begun = std::get_if<ToolCallBegun>(&event)) line += "[" + begun->name + " " + begun->id + " ";
      else if (const auto* input = std::get_if<ToolInput>(&event)) line += input->json;
      else if (std::holds_alternative<ToolCallEnded>(event)) line += "]";
    }
  }

  FakeEngine engine_{{}};
  ChatTemplate chat_ = *ChatTemplate::make("", engine_.facts().chat_template, engine_.vocabulary());
  GenerateRequest request_;
  std::string stopped_by_;
  std::string violation_;
  bool called_ = false;
};

const std::string kCall = R"(<tool_call>{"name": "now", "arguments": {}}</tool_call>)";

TEST_F(AnswerReaderTest, TheSameTokensGiveTheSameIds) {
  const std::string once = read("go " + kCall + kCall);
  EXPECT_EQ(once, read("go " + kCall + kCall));
  EXPECT_TRUE(once.starts_with("go[now toolu_")) << once;
  request_.prompt.tokens.push_back(4);
  EXPECT_NE(once, read("go " + kCall + kCall));
}

TEST_F(AnswerReaderTest, AStopSequenceCountsInTextOnly) {
  request_.stop_sequences = {"name", "END"};
  request_.opening = "<think>";
  EXPECT_TRUE(read("a name</think>" + kCall).starts_with("(a")) << read("a name</think>" + kCall);
  EXPECT_EQ(stopped_by_, "");
  request_.opening.clear();
  EXPECT_EQ(read("wait END more " + kCall), "wait ");
  EXPECT_EQ(stopped_by_, "END");
}

TEST_F(AnswerReaderTest, OneCallAtMost) {
  request_.prompt.tool_choice.one_at_most = true;
  const std::string line = read(kCall + kCall);
  EXPECT_EQ(line.find("toolu_"), line.rfind("toolu_"));
}

TEST_F(AnswerReaderTest, NoneMeansNone) {
  request_.prompt.tool_choice.kind = ToolChoice::Kind::none;
  EXPECT_EQ(read(kCall), kCall);
}

TEST_F(AnswerReaderTest, ControlTokensStayOut) {
  AnswerReader reader(chat_, engine_.vocabulary(), request_);
  std::string line;
  add(reader.push('a'), line);
  add(reader.push(257), line);  // <|user|>
  add(reader.push('b'), line);
  add(reader.finish(true), line);
  EXPECT_EQ(line, "ab");
}

TEST_F(AnswerReaderTest, ACallOfAStrictToolThatDoesNotFitIsText) {
  request_.prompt.tools = {{"now", "", R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}})", true, false}};
  EXPECT_TRUE(read(R"(<tool_call>{"name": "now", "arguments": {"a": [1, 2]}}</tool_call>)").starts_with("[now "));
  EXPECT_EQ(violation_, "");
  const std::string twice = R"(<tool_call>
{"name": "now", "arguments": {"a":[1,1]}}
</tool_call>)";
  EXPECT_EQ(read(twice), twice);
  EXPECT_EQ(violation_, "a call of now: a: items 0 and 1 are equal");
  request_.prompt.tools[0].strict = false;
  EXPECT_TRUE(read(twice).starts_with("[now "));
}

TEST_F(AnswerReaderTest, AnAnswerThatIsNotAsItsSchemaWantsIsTold) {
  request_.prompt.json_schema = R"({"type":"object","not":{"required":["b"]}})";
  EXPECT_EQ(read(R"({"a":1})"), R"({"a":1})");
  EXPECT_EQ(violation_, "");
  EXPECT_EQ(read(R"({"b":1})"), R"({"b":1})");
  EXPECT_EQ(violation_, "the answer: the value: matches what it must not");
  read("no JSON");
  EXPECT_EQ(violation_, "the answer: is no JSON");
  read(R"({"b":)", false);  // Cut off: the reason says it.
  EXPECT_EQ(violation_, "");
}

TEST_F(AnswerReaderTest, ALiveCallCountsOnlyWhenItIsWhole) {
  request_.grammar = Grammar{"", "", true};
  const std::string call = "<tool_call>\n{\"name\": \"now\", \"arguments\": {\"a\": 1}}\n</tool_call>";
  const std::string whole = read(call);
  EXPECT_TRUE(whole.ends_with(" {\"a\": 1}]")) << whole;
  EXPECT_TRUE(called_);
  const std::string cut = read(call.substr(0, call.size() - 14), false);
  EXPECT_EQ(cut, whole.substr(0, whole.size() - 1));
  EXPECT_FALSE(called_);
}

}  // namespace
}  // namespace pensieve
