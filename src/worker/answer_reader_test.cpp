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

}  // namespace
}  // namespace pensieve
