#include "chat/answer_grammar.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

const ThinkingMarks kThink = {"<think>", "</think>"};

Prompt prompt_with(ToolChoice choice, bool strict = false) {
  Prompt prompt;
  prompt.tools = {{"add", "", R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]})", strict, false}, {"now", "", "{}", false, false}};
  prompt.tool_choice = std::move(choice);
  return prompt;
}

std::string root_of(const Result<std::optional<Grammar>>& grammar) {
  if (!grammar) return "error: " + grammar.error().message;
  if (!*grammar) return "free";
  const std::size_t at = (*grammar)->rules.find("root ::=");
  return (*grammar)->rules.substr(at, (*grammar)->rules.find('\n', at) - at);
}

TEST(AnswerGrammar, WhatIsAskedOfNobodyIsFree) {
  EXPECT_EQ(root_of(answer_grammar(prompt_with({}), "", hermes_syntax(), kThink)), "free");
  EXPECT_EQ(root_of(answer_grammar({}, "", hermes_syntax(), kThink)), "free");
  EXPECT_EQ(root_of(answer_grammar(prompt_with({ToolChoice::Kind::none, "", false}, true), "", hermes_syntax(), kThink)), "free");
}

TEST(AnswerGrammar, ACallThatMustBeMadeGoesOnBehindItsHead) {
  for (const ToolSyntax* syntax : all_tool_syntaxes()) {
    ASSERT_NE(syntax->json_shape().has_value(), syntax->arguments_shape().has_value()) << syntax->name();
    const auto named = answer_grammar(prompt_with({ToolChoice::Kind::tool, "add", false}), syntax->head("add"), *syntax, kThink);
    EXPECT_TRUE(root_of(named).starts_with("root ::= ")) << syntax->name() << root_of(named);
    EXPECT_EQ(root_of(named).find("now"), std::string::npos);
    const auto any = answer_grammar(prompt_with({ToolChoice::Kind::any, "", false}), syntax->head(""), *syntax, kThink);
    EXPECT_NE((*any)->rules.find("now"), std::string::npos) << syntax->name();
    EXPECT_EQ((*any)->after, "");
  }
}

TEST(AnswerGrammar, AStrictToolIsHeldOnceItIsBegun) {
  const auto grammar = answer_grammar(prompt_with({}, true), "", hermes_syntax(), kThink);
  ASSERT_TRUE(grammar && *grammar);
  EXPECT_EQ((*grammar)->after, "<tool_call>");
  EXPECT_NE(root_of(grammar).find(")*"), std::string::npos);
  EXPECT_EQ(root_of(answer_grammar(prompt_with({ToolChoice::Kind::automatic, "", true}, true), "", hermes_syntax(), kThink)), "root ::= one");
  EXPECT_EQ(root_of(answer_grammar(prompt_with({}, true), "<think>\n", hermes_syntax(), kThink)), "free");
}

TEST(AnswerGrammar, ArgumentsThatStandOneByOneAreHeldInTheirOwnSpelling) {
  Prompt prompt = prompt_with({}, true);
  prompt.tools[0].input_schema = R"({"type":"object","properties":{"path":{"type":"string","pattern":"^/"},"mode":{"enum":["r","w"],"type":"string"},"n":{"type":"integer"}},"required":["path"],"$defs":{}})";
  for (const ToolSyntax* syntax : {&qwen_xml_syntax(), &glm_syntax(), &gemma_syntax()}) {
    const auto grammar = answer_grammar(prompt, "", *syntax, kThink);
    ASSERT_TRUE(grammar && *grammar) << syntax->name() << root_of(grammar);
    EXPECT_EQ((*grammar)->after, syntax->openers().front());
    EXPECT_FALSE((*grammar)->sure_of_calls) << "a pattern is left to be checked";
    prompt.tools[0].input_schema = R"({"type":"object","properties":{"a":{"$ref":"#/nowhere"}}})";
    EXPECT_TRUE(root_of(answer_grammar(prompt, "", *syntax, kThink)).starts_with("error: tools.0.input_schema"));
    prompt.tools[0].input_schema = R"({"type":"object","properties":{"path":{"type":"string","pattern":"^/"}},"required":["path"]})";
  }
}

TEST(AnswerGrammar, AnInputGoesOutLiveOnlyWhereNothingIsLeftToCheck) {
  Prompt prompt = prompt_with({ToolChoice::Kind::tool, "add", false}, true);
  EXPECT_TRUE((*answer_grammar(prompt, hermes_syntax().head("add"), hermes_syntax(), kThink))->sure_of_calls);
  prompt.tools[0].input_schema = R"({"type":"object","properties":{"a":{"type":"array","uniqueItems":true}}})";
  EXPECT_FALSE((*answer_grammar(prompt, hermes_syntax().head("add"), hermes_syntax(), kThink))->sure_of_calls);
  for (Tool& tool : prompt.tools) tool.strict = false;
  EXPECT_TRUE((*answer_grammar(prompt, hermes_syntax().head("add"), hermes_syntax(), kThink))->sure_of_calls);
}

TEST(AnswerGrammar, ChannelsOfAnsweringAreNoCalls) {
  const auto grammar = answer_grammar(prompt_with({}, true), "", harmony_syntax(), {});
  ASSERT_TRUE(grammar && *grammar);
  EXPECT_EQ((*grammar)->after, "<|channel|>commentary to=functions.");
}

TEST(AnswerGrammar, ASchemaForTheWholeAnswerWaitsForThinking) {
  Prompt prompt;
  prompt.json_schema = R"({"type":"integer"})";
  EXPECT_EQ((*answer_grammar(prompt, "", hermes_syntax(), kThink))->after, "");
  EXPECT_EQ((*answer_grammar(prompt, "<think>\n", hermes_syntax(), kThink))->after, "</think>");
  EXPECT_EQ((*answer_grammar(prompt, "", harmony_syntax(), {}))->after, "<|channel|>final<|message|>");
  prompt.json_schema = R"({"$ref":"#/nowhere"})";
  EXPECT_TRUE(root_of(answer_grammar(prompt, "", hermes_syntax(), kThink)).starts_with("error: json_schema"));
}

TEST(AnswerGrammar, ABadSchemaIsRefusedOnlyWhereItMustBeKept) {
  Prompt prompt = prompt_with({ToolChoice::Kind::tool, "add", false});
  prompt.tools[0].input_schema = R"({"type":"object","properties":{"a":{"$ref":"#/nowhere"}}})";
  EXPECT_TRUE(root_of(answer_grammar(prompt, hermes_syntax().head("add"), hermes_syntax(), kThink)).starts_with("root"));
  prompt.tools[0].strict = true;
  for (const auto& [kind, opening] : {std::pair{ToolChoice::Kind::tool, hermes_syntax().head("add")}, std::pair{ToolChoice::Kind::automatic, std::string()}}) {
    prompt.tool_choice = {kind, kind == ToolChoice::Kind::tool ? "add" : "", false};
    EXPECT_TRUE(root_of(answer_grammar(prompt, opening, hermes_syntax(), kThink)).starts_with("error: tools.0.input_schema"));
  }
}

}  // namespace
}  // namespace pensieve
