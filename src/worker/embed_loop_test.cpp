#include "worker/embed_loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "core/unit_vector.h"
#include "engine/fake_embedder.h"
#include "worker/embed_desk.h"
#include "worker/wire_thread.h"

namespace pensieve {
namespace {

// A worker's two threads on pipes, with the scripted embedder.
class EmbedLoopTest : public ::testing::Test {
 protected:
  EmbedLoopTest() {
    if (::pipe(in_) != 0 || ::pipe(out_) != 0) std::abort();
  }

  // All commands go in at once, before the first step; then the input ends.
  std::vector<wire::Report> run(const std::vector<wire::Command>& commands) {
    FakeEmbedder embedder({});
    WirePort port(in_[0], out_[1]);
    Inbox inbox;
    Progress progress;
    EmbedDesk desk(embedder);
    WireThread wire_thread(embedder, desk, port, inbox, progress);
    for (const wire::Command& command : commands) {
      const std::string line = wire::encode(command);
      EXPECT_EQ(::write(in_[1], line.data(), line.size()), static_cast<ssize_t>(line.size()));
    }
    ::close(in_[1]);
    wire_thread.run();
    EmbedLoop(embedder, inbox, progress, port).run();
    ::close(out_[1]);
    WirePort reader(out_[0], STDERR_FILENO);
    std::vector<wire::Report> reports;
    while (const auto line = reader.read_line()) reports.push_back(*wire::parse_report(*line));
    return reports;
  }

  static EmbedRequest request(std::uint64_t id, std::vector<std::string> texts, std::int32_t done = 0) {
    EmbedRequest made{RequestId{id}, {}, done};
    for (std::string& text : texts) made.inputs.push_back({std::move(text), {}});
    return made;
  }

  // "1:s 1:0 2:f": started, vectors by their index, finished (c: cancelled, x: failed).
  static std::string story(const std::vector<wire::Report>& reports) {
    std::string text;
    for (const wire::Report& report : reports) {
      const auto* event = std::get_if<wire::Event>(&report);
      if (event == nullptr || std::holds_alternative<Prefilled>(event->event)) continue;
      text += (text.empty() ? "" : " ") + std::to_string(static_cast<std::uint64_t>(event->id)) + ":";
      if (std::holds_alternative<Started>(event->event)) text += "s";
      else if (const auto* embedded = std::get_if<Embedded>(&event->event)) text += std::to_string(embedded->index);
      else if (const auto* finished = std::get_if<Finished>(&event->event)) text += finished->reason == FinishReason::cancelled ? "c" : "f";
      else text += "x";
    }
    return text;
  }

  int in_[2] = {-1, -1};
  int out_[2] = {-1, -1};
};

const Embedded& vector_in(const std::vector<wire::Report>& reports, std::uint64_t id, std::int32_t index) {
  for (const wire::Report& report : reports) {
    const auto* event = std::get_if<wire::Event>(&report);
    const auto* embedded = event == nullptr ? nullptr : std::get_if<Embedded>(&event->event);
    if (embedded != nullptr && event->id == RequestId{id} && embedded->index == index) return *embedded;
  }
  std::abort();
}

TEST_F(EmbedLoopTest, VectorsComeInOrderWithLengthOne) {
  const std::string longer(40, 'x');  // Three steps.
  const auto reports = run({wire::Embed{request(1, {"ab", longer})}});
  EXPECT_EQ(story(reports), "1:s 1:0 1:1 1:f");
  std::vector<float> expected = FakeEmbedder::vector_of(std::vector<TokenId>{260, 'a', 'b'});
  ASSERT_TRUE(make_unit(expected));
  const Embedded& first = vector_in(reports, 1, 0);
  EXPECT_EQ(first.values, expected);
  EXPECT_EQ(first.done_tokens, 3);
  EXPECT_EQ(first.total_tokens, 3 + 41);
  double length = 0;
  for (const float value : vector_in(reports, 1, 1).values) length += static_cast<double>(value) * static_cast<double>(value);
  EXPECT_NEAR(length, 1, 1e-6);
}

TEST_F(EmbedLoopTest, RequestsTakeTurnsByInput) {
  const std::string longer(40, 'x');
  const auto alone = vector_in(run({wire::Embed{request(7, {longer})}}), 7, 0).values;
  ASSERT_EQ(::pipe(in_), 0);
  ASSERT_EQ(::pipe(out_), 0);
  const auto reports = run({wire::Embed{request(1, {"a", longer, "c"})}, wire::Embed{request(2, {longer})}, wire::Embed{request(3, {"f", "g"})}});
  EXPECT_EQ(story(reports), "1:s 1:0 2:s 2:0 2:f 3:s 3:0 1:1 3:1 3:f 1:2 1:f") << "one of many does not keep one of a few waiting";
  EXPECT_EQ(vector_in(reports, 2, 0).values, alone);
  EXPECT_EQ(vector_in(reports, 1, 1).values, alone) << "whatever else runs";
}

TEST_F(EmbedLoopTest, GoesOnAfterWhatAWorkerBeforeItHadMade) {
  EXPECT_EQ(story(run({wire::Embed{request(1, {"a", "b", "c"}, 2)}})), "1:s 1:2 1:f");
  ASSERT_EQ(::pipe(in_), 0);
  ASSERT_EQ(::pipe(out_), 0);
  EXPECT_EQ(story(run({wire::Embed{request(1, {"a", "b"}, 2)}})), "1:s 1:f") << "all was made, and its end was not heard";
}

TEST_F(EmbedLoopTest, CancelledAndFailedEndAloneTheOthersGoOn) {
  const auto reports = run({wire::Embed{request(1, {"a", "b"})}, wire::Embed{request(2, {"ok", "!fail", "never"})}, wire::Embed{request(3, {"!zero"})}, wire::Cancel{RequestId{1}}});
  EXPECT_EQ(story(reports), "1:c 2:s 2:0 3:s 3:x 2:x");
}

TEST_F(EmbedLoopTest, PausedIsNotReadAndKeepsNobodyWaiting) {
  EXPECT_EQ(story(run({wire::Embed{request(1, {"a"})}, wire::Embed{request(2, {"b"})}, wire::Pause{RequestId{1}}, wire::Cancel{RequestId{2}}, wire::Resume{RequestId{1}}})), "2:c 1:s 1:0 1:f");
}

TEST_F(EmbedLoopTest, WhatItCannotDoIsRefusedInWords) {
  const auto why = [this](wire::Command command) {
    EXPECT_EQ(::pipe(in_), 0);
    EXPECT_EQ(::pipe(out_), 0);
    for (const wire::Report& report : run({std::move(command)})) {
      if (const auto* event = std::get_if<wire::Event>(&report); event != nullptr && std::holds_alternative<Failed>(event->event)) return std::get<Failed>(event->event).error.message;
    }
    return std::string("nothing was refused");
  };
  GenerateRequest generate;
  generate.id = RequestId{1};
  generate.prompt.messages = {{Role::user, "hi"}};
  generate.max_tokens = 4;
  EXPECT_EQ(why(wire::Generate{generate}), "this model makes embeddings, it does not generate (POST /v1/embeddings)");
  EXPECT_EQ(why(wire::Count{RequestId{1}, generate.prompt, false}), "this model makes embeddings, it does not generate (POST /v1/embeddings)");
  EXPECT_EQ(why(wire::Embed{request(1, {"a", std::string(64, 'x')})}), "input.1: is too long: 65 tokens > 64 maximum");
  EXPECT_EQ(why(wire::Embed{request(1, {""})}), "input.0: must not be empty");
  EmbedRequest outside{RequestId{1}, {{"", {5, 261}}}, 0};
  EXPECT_EQ(why(wire::Embed{outside}), "input.0: 261 is outside the vocabulary of 261 tokens");
  EXPECT_EQ(why(wire::Embed{EmbedRequest{RequestId{1}, {{"", {-1}}}, 0}}), "input.0: -1 is outside the vocabulary of 261 tokens");
}

TEST_F(EmbedLoopTest, ACountGivesTheTokensOfEachInput) {
  Prompt prompt;
  prompt.inputs = {{"ab", {}}, {"", {1, 2}}};
  const auto reports = run({wire::Count{RequestId{4}, prompt, true}});
  const auto& counted = std::get<wire::Counted>(reports.at(0));
  EXPECT_EQ(counted.input_tokens, 5);
  ASSERT_EQ(counted.inputs.size(), 2u);
  EXPECT_EQ(counted.inputs[0].tokens, (std::vector<TokenId>{260, 'a', 'b'}));
  EXPECT_EQ(counted.inputs[1].tokens, (std::vector<TokenId>{1, 2})) << "as the client gave them";
}

}  // namespace
}  // namespace pensieve
