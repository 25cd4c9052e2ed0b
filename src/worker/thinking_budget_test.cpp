#include "worker/thinking_budget.h"

#include <gtest/gtest.h>

#include "engine/fake_engine.h"
#include "worker/answer_reader.h"

namespace pensieve {
namespace {

// The fake's tokens are bytes.
class ThinkingBudgetTest : public testing::Test {
 protected:
  explicit ThinkingBudgetTest(const char* syntax = "") : chat_(*ChatTemplate::make("", engine_.facts().chat_template, engine_.vocabulary(), syntax)) {}

  // What is said when the model would go on with `wanted`, byte by byte.
  std::string said(std::optional<std::int32_t> tokens, const std::string& opening, const std::string& wanted, std::size_t replayed = 0) {
    GenerateRequest request;
    request.prompt.tokens = {1};
    request.prompt.thinking.budget_tokens = tokens;
    request.opening = opening;
    AnswerReader reader(chat_, engine_.vocabulary(), request);
    ThinkingBudget budget(chat_, engine_.vocabulary(), request);
    std::string all = before_.substr(0, replayed);
    const auto take = [&](TokenId token) {
      reader.push(token);
      budget.took(token, reader.thinking());
    };
    for (const char c : all) take(static_cast<unsigned char>(c));
    std::size_t at = wanted_;
    while (at < wanted.size() || budget.next()) {
      const TokenId token = budget.next() ? *budget.next() : static_cast<unsigned char>(wanted[at++]);
      take(token);
      all.push_back(static_cast<char>(token));
    }
    return all;
  }

  FakeEngine engine_{{}};
  ChatTemplate chat_;
  std::string before_;
  std::size_t wanted_ = 0;
};

TEST_F(ThinkingBudgetTest, ThinkingIsEndedAfterSoManyTokens) {
  EXPECT_EQ(said(3, "<think>", "abcAnswer"), "abc\n</think>Answer");
  EXPECT_EQ(said(100, "<think>", "abc</think>Answer"), "abc</think>Answer");
  EXPECT_EQ(said(std::nullopt, "<think>", "abcdef"), "abcdef");
  EXPECT_EQ(said(3, "", "Answer, with no thinking"), "Answer, with no thinking");
}

TEST_F(ThinkingBudgetTest, ThinkingThatTheModelBeganItselfIsBoundedToo) {
  // The mark's own last byte is where thinking begins: it counts as one.
  EXPECT_EQ(said(4, "", "<think>abcAnswer"), "<think>abc\n</think>Answer");
}

TEST_F(ThinkingBudgetTest, ReadAgainItGoesOnWhereItWasWhereverItWas) {
  const std::string whole = "abc\n</think>Answer";
  before_ = whole;
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    wanted_ = cut <= 3 ? cut : cut < 12 ? 3 : cut - 9;  // What of "abcAnswer" is among the first `cut`.
    EXPECT_EQ(said(3, "<think>", "abcAnswer", cut), whole) << cut;
  }
}

class ChannelBudgetTest : public ThinkingBudgetTest {
 protected:
  ChannelBudgetTest() : ThinkingBudgetTest("harmony") {}
};

TEST_F(ChannelBudgetTest, TheNextChannelIsTheModelsChoiceOnce) {
  // <|end|> ends the fake's turn: there is nothing that can be put in, and thinking has no bound.
  EXPECT_EQ(said(2, "", "<|channel|>analysis<|message|>abc"), "<|channel|>analysis<|message|>abc");
}

}  // namespace
}  // namespace pensieve
