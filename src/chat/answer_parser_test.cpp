#include "chat/answer_parser.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

namespace pensieve {
namespace {

using Kind = AnswerPart::Kind;

const std::vector<Tool> kTools = {
    {"get_weather", "", R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}})"},
    {"write_file", "", R"({"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"},"lines":{"type":"array"},"force":{"type":"boolean"}}})"},
    {"now", "", R"({"type":"object"})"},
};
const ThinkingMarks kThink = {"<think>", "</think>"};

// Parts with neighbours of a kind joined, so that cuts do not show.
std::string shown(const std::vector<AnswerPart>& parts) {
  std::string line;
  const AnswerPart* last = nullptr;
  for (const AnswerPart& part : parts) {
    if (part.kind == Kind::call_begun || part.kind == Kind::call_input || part.kind == Kind::call_ended) {
      line += part.kind == Kind::call_begun ? "|L:" + part.call.name : part.kind == Kind::call_input ? part.text : "!";
      last = &part;
      continue;
    }
    const bool joins = last != nullptr && last->kind == part.kind && part.kind != Kind::call;
    if (!joins) line += part.kind == Kind::text ? "|T:" : part.kind == Kind::thinking ? "|R:" : "|C:" + part.call.name + part.call.input;
    line += part.text;
    last = &part;
  }
  return line;
}

struct Options {
  bool tools = true;
  bool ended = true;
  std::string opening;
  bool live = false;
};

std::string parse(const ToolSyntax& syntax, const std::vector<std::string_view>& pieces, const Options& options) {
  const auto parser = make_answer_parser(syntax, kThink, options.tools ? ToolTable(kTools) : ToolTable(), options.live);
  std::vector<AnswerPart> parts;
  if (!options.opening.empty()) parser->push(options.opening, parts);
  parts.clear();
  for (const std::string_view piece : pieces) parser->push(piece, parts);
  parser->finish(options.ended, parts);
  for (const AnswerPart& part : parts) {
    if (part.kind != Kind::call && part.kind != Kind::call_ended) continue;
    const auto input = nlohmann::json::parse(part.call.input, nullptr, false);
    EXPECT_TRUE(input.is_object()) << part.call.input;
  }
  return shown(parts);
}

// Whole, byte by byte, and cut in two at every byte: always the same.
std::string parse_all_ways(const ToolSyntax& syntax, const std::string& answer, const Options& options = {}) {
  const std::string whole = parse(syntax, {answer}, options);
  std::vector<std::string_view> bytes;
  for (std::size_t i = 0; i < answer.size(); ++i) bytes.push_back(std::string_view(answer).substr(i, 1));
  EXPECT_EQ(parse(syntax, bytes, options), whole) << answer;
  for (std::size_t cut = 1; cut < answer.size(); ++cut) {
    EXPECT_EQ(parse(syntax, {std::string_view(answer).substr(0, cut), std::string_view(answer).substr(cut)}, options), whole) << answer << " cut at " << cut;
  }
  return whole;
}

struct Case {
  const char* family;
  std::string answer;
  std::string parts;
};

const std::string kOslo = R"(|C:get_weather{"city":"Oslo"})";
const std::string kBoth = kOslo + R"(|C:now{})";

std::vector<Case> good_calls() {
  return {
      {"hermes", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n</tool_call>", kOslo},
      {"hermes", "Let me look.\n<tool_call>\n{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Oslo\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\"}\n</tool_call>\n", "|T:Let me look." + kBoth},
      {"hermes", "<tool_call>{\"arguments\": \"{\\\"city\\\": \\\"Oslo\\\"}\", \"name\": \"get_weather\"}", kOslo},
      {"hermes", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", kBoth},
      {"hermes", "<think>\nhm <tool_call> hm\n</think>\n\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", "|R:hm <tool_call> hm|C:now{}"},
      {"hermes", "<tool_call>\n{\"name\": \"write_file\", \"arguments\": {\"content\": \"</tool_call> } \\\"\n\"}}\n</tool_call> done", R"(|C:write_file{"content":"</tool_call> } \"\n"}|T:done)"},
      {"qwen-xml", "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n<parameter=days>\n3\n</parameter>\n</function>\n</tool_call>", R"(|C:get_weather{"city":"Oslo","days":3})"},
      {"qwen-xml", "Now:\n\n<function=write_file>\n<parameter=content>\n{\"a\": 1}\n</parameter> ?\n\n</parameter>\n<parameter=lines>\n[1, 2]\n</parameter>\n<parameter=force>\nTrue\n</parameter>\n</function>",
       R"(|T:Now:|C:write_file{"content":"{\"a\": 1}\n</parameter> ?\n","lines":[1,2],"force":true})"},
      {"qwen-xml", "<tool_call>\n<function=now>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>", "|C:now{}|C:now{}"},
      {"llama", "{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}", kOslo},
      {"llama", "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}; {\"name\": \"now\", \"parameters\": {}}", kBoth},
      {"llama", "<|python_tag|>get_weather.call(city=\"Oslo\")", kOslo},
      {"llama", "<function=get_weather>{\"city\": \"Oslo\"}</function>", kOslo},
      {"llama", "[get_weather(city='Oslo'), now()]", kBoth},
      {"llama", "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}}", kOslo},
      {"mistral", "[TOOL_CALLS][{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}, \"id\": \"abcdefghi\"}, {\"name\": \"now\", \"arguments\": {}}]", kBoth},
      {"mistral", "Well: [TOOL_CALLS]get_weather[CALL_ID]abcdefghi[ARGS]{\"city\": \"Oslo\"}[TOOL_CALLS]now[ARGS]{}", "|T:Well:" + kBoth},
      {"mistral", "[TOOL_CALLS]get_weather{\"city\": \"Oslo\"}", kOslo},
      {"phi4", "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}]<|/tool_call|>", kOslo},
      {"phi4", "functools[{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Oslo\"}}, {\"name\": \"now\"}]", kBoth},
      {"deepseek", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{\"city\": \"Oslo\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", kBoth},
      {"deepseek", "Hm.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Oslo\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "|T:Hm." + kOslo},
      {"glm", "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n<arg_key>days</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", R"(|C:get_weather{"city":"Oslo","days":3})"},
      {"glm", "<think>so</think>\n<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>\n<tool_call>now</tool_call>", "|R:so" + kBoth},
      {"granite", "<|tool_call|>[{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Oslo\"}}]", kOslo},
      {"gemma", "<|tool_call>call:get_weather{city:<|\"|>Oslo<|\"|>,days:3}<tool_call|>", R"(|C:get_weather{"city":"Oslo","days":3})"},
      {"gemma", "<|tool_call>call:write_file{content:<|\"|>a,b:{\"}<|\"|>,lines:[1,<|\"|>x<|\"|>],force:true}<tool_call|><|tool_call>call:now{}<tool_call|>", R"(|C:write_file{"content":"a,b:{\"}","lines":[1,"x"],"force":true}|C:now{})"},
      {"gemma", "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>", kOslo},
      {"gemma", "```tool_code\nget_weather(city=\"Oslo\")\nprint(now())\n```", kBoth},
      {"harmony", "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Oslo\"}<|call|>", "|R:I look." + kOslo},
      {"harmony", "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant to=functions.now<|channel|>commentary json<|message|>{}", "|T:Wait.|C:now{}"},
      {"harmony", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Done < it.<|return|>", "|R:hm|T:Done < it."},
  };
}

TEST(AnswerParser, EveryFamilyHoweverItIsCut) {
  for (const Case& one : good_calls()) {
    const ToolSyntax* syntax = find_tool_syntax(one.family);
    ASSERT_NE(syntax, nullptr) << one.family;
    EXPECT_EQ(parse_all_ways(*syntax, one.answer), one.parts) << one.family << ": " << one.answer;
  }
}

// What the fuzzer found (tests/fuzz/answers.cpp).
TEST(AnswerParser, OneSemicolonPartsCallsAndTheNextIsText) {
  const std::string call = "{\"name\": \"now\", \"parameters\": {}}";
  EXPECT_EQ(parse_all_ways(llama_syntax(), call + "; ;x"), "|C:now{}|T:;x");
  EXPECT_EQ(parse_all_ways(llama_syntax(), call + "; " + call + ";" + call), "|C:now{}|C:now{}|C:now{}");
}

// A call that is not whole, or is none, is text, markers and all; nothing is lost.
TEST(AnswerParser, AMalformedCallIsText) {
  const std::pair<const char*, std::string> cases[] = {
      {"hermes", "<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Os"},
      {"hermes", "<tool_call>\n{\"name\": \"get weather!\", \"arguments\": {}}\n</tool_call>"},
      {"hermes", "<tool_call>\nget_weather(Oslo)\n</tool_call>"},
      {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": [1]}</tool_call>"},
      {"hermes", "<tool_call>{\"name\": \"now\", \"arguments\": {,}}</tool_call>"},
      {"hermes", "I write <tool_call>."},
      {"hermes", "<tool_cal"},
      {"hermes", "<tool_call>{\"name\":\"now\",\"arguments\":" + std::string(3000, '[')},
      {"qwen-xml", "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo"},
      {"qwen-xml", "<function=>x</function>"},
      {"llama", "{\"name\": \"no_such_tool\", \"parameters\": {}}"},
      {"llama", "{\"city\": \"Oslo\"}"},
      {"llama", "[1, 2, 3]"},
      {"mistral", "[TOOL_CALLS][{\"name\": \"now\", \"arg"},
      {"phi4", "<|tool_call|>[]<|/tool_call|>"},
      {"deepseek", "<｜tool▁calls▁begin｜><｜tool▁calls▁end｜>"},
      {"glm", "<tool_call>now <arg_key>x</arg_key></tool_call>"},
      {"granite", "<|tool_call|>now()"},
      {"gemma", "<|tool_call>call:now{city:<|\"|>Oslo}<tool_call|>"},
      {"gemma", "```tool_code\nx = 1\n```"},
  };
  for (const auto& [family, answer] : cases) EXPECT_EQ(parse_all_ways(*find_tool_syntax(family), answer), "|T:" + answer) << family;
}

TEST(AnswerParser, ACallThatWasCutOffIsNotMade) {
  const std::string answer = "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]";
  EXPECT_EQ(parse_all_ways(phi4_syntax(), answer), "|C:now{}");
  EXPECT_EQ(parse_all_ways(phi4_syntax(), answer, {true, false, ""}), "|T:" + answer);
}

// Where a grammar holds the calls: what every family whose inputs are JSON says comes out while it is said.
TEST(AnswerParser, ALiveCallComesOutWhileItIsSampled) {
  int families = 0;
  for (const ToolSyntax* syntax : all_tool_syntaxes()) {
    const auto shape = syntax->json_shape();
    if (!shape) continue;
    ++families;
    const std::string input = R"({"city": "O}s\"lo", "days": [3, {"a": "]"}]})";
    const std::string call = shape->before_name + "get_weather" + shape->before_input + input + shape->after_input;
    const std::string whole = "|L:get_weather" + input + "!";
    EXPECT_EQ(parse_all_ways(*syntax, call, {true, true, "", true}), whole) << syntax->name();
    const std::string head = syntax->head("get_weather");
    EXPECT_EQ(parse_all_ways(*syntax, " " + input + shape->after_input, {true, true, head, true}), "|L:get_weather" + input + "!") << syntax->name();
    // Cut off: it stays open, and nothing follows.
    const std::string cut = parse_all_ways(*syntax, call.substr(0, call.find("days")), {true, false, "", true});
    EXPECT_EQ(cut, "|L:get_weather" + input.substr(0, input.find("days"))) << syntax->name();
    // Piece by piece indeed: the first half of the input is out before the second half is there.
    const auto parser = make_answer_parser(*syntax, kThink, ToolTable(kTools), true);
    std::vector<AnswerPart> parts;
    parser->push(call.substr(0, call.find("days")), parts);
    EXPECT_EQ(shown(parts), "|L:get_weather" + input.substr(0, input.find("days"))) << syntax->name();
  }
  EXPECT_EQ(families, 7);
}

TEST(AnswerParser, ALiveCallThatIsNoneIsTextAndOneThatBreaksStaysOpen) {
  const auto live = [](const std::string& answer) { return parse_all_ways(hermes_syntax(), answer, {true, true, "", true}); };
  EXPECT_EQ(live("<tool_call>\n{\"name\": \"nobody\", \"arguments\": [1]}"), "|T:<tool_call>\n{\"name\": \"nobody\", \"arguments\": [1]}");
  EXPECT_EQ(live("<tool_call>\n{\"name\": \"now\", \"arguments\": {nonsense}}\n</tool_call> and more"), "|L:now{nonsense}");
  EXPECT_EQ(live("a <tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"), "|T:a|L:now{}!|L:now{}!");
  EXPECT_EQ(live("<think>hm</think><tool_call>{\"arguments\": {}, \"name\": \"now\"}</tool_call>"), "|R:hm|C:now{}");  // Not its shape: whole, as ever.
}

TEST(AnswerParser, WithoutToolsACallStaysText) {
  const std::string answer = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
  EXPECT_EQ(parse_all_ways(hermes_syntax(), answer, {false, true, ""}), "|T:" + answer);
}

TEST(AnswerParser, ThinkingIsSplitOff) {
  EXPECT_EQ(parse_all_ways(hermes_syntax(), "<think>\na\n\nb\n</think>\n\nHello <think> there \n"), "|R:a\n\nb|T:Hello <think> there \n");
  EXPECT_EQ(parse_all_ways(hermes_syntax(), "<think>\n\n</think>\n\nHello"), "|T:Hello");
  EXPECT_EQ(parse_all_ways(hermes_syntax(), "a\n</think>\n\nHello", {true, true, "<think>\n"}), "|R:a|T:Hello");
  EXPECT_EQ(parse_all_ways(hermes_syntax(), "a</think", {true, false, "<think>"}), "|R:a</think");
  EXPECT_EQ(parse_all_ways(hermes_syntax(), " \n lead", {false, true, ""}), "|T: \n lead");
}

TEST(AnswerParser, AnOpeningIsTheHeadOfTheCall) {
  for (const ToolSyntax* syntax : all_tool_syntaxes()) {
    if (std::string_view(syntax->name()) == "gemma" || std::string_view(syntax->name()) == "qwen-xml" || std::string_view(syntax->name()) == "glm") continue;
    const std::string rest = std::string_view(syntax->name()) == "llama" || std::string_view(syntax->name()) == "hermes" ? " {\"city\": \"Oslo\"}}"
                             : std::string_view(syntax->name()) == "harmony" || std::string_view(syntax->name()) == "deepseek" ? "{\"city\": \"Oslo\"}"
                                                                                                                                  : " {\"city\": \"Oslo\"}}]";
    EXPECT_EQ(parse_all_ways(*syntax, rest, {true, true, syntax->head("get_weather")}), kOslo) << syntax->name();
  }
  EXPECT_EQ(parse_all_ways(gemma_syntax(), "city:<|\"|>Oslo<|\"|>}<tool_call|>", {true, true, gemma_syntax().head("get_weather")}), kOslo);
  EXPECT_EQ(parse_all_ways(qwen_xml_syntax(), "<parameter=city>\nOslo\n</parameter>\n</function>", {true, true, qwen_xml_syntax().head("get_weather")}), kOslo);
  EXPECT_EQ(parse_all_ways(glm_syntax(), "\n<arg_key>city</arg_key>\n<arg_value>Oslo</arg_value>\n</tool_call>", {true, true, glm_syntax().head("get_weather")}), kOslo);
}

// Whatever stands in an answer: no crash, the same parts for every cut, and only valid calls.
TEST(AnswerParser, SoupOfMarkersIsTheSameForEveryCut) {
  std::mt19937 random(11);
  for (const ToolSyntax* syntax : all_tool_syntaxes()) {
    std::vector<std::string> words = {"{", "}", "[", "]", "\"", ":", ",", "\\", "\n", " ", "now", "name", "\"name\": \"now\"", "\"arguments\": {}", "x", "(", ")", "=", "<think>", "</think>", "é", "```"};
    for (const std::string_view opener : syntax->openers()) words.emplace_back(opener);
    for (const Case& one : good_calls()) {
      if (one.family != std::string_view(syntax->name())) continue;
      words.push_back(one.answer);
      for (std::size_t at = 0; (at = one.answer.find('<', at)) != std::string::npos; ++at) words.push_back(one.answer.substr(at, one.answer.find('>', at) - at + 1));
    }
    for (int round = 0; round < 1500; ++round) {
      std::string answer;
      for (std::size_t i = 0; i < 1 + random() % 9; ++i) answer += words[random() % words.size()];
      const Options options{random() % 8 != 0, random() % 2 == 0, "", false};
      const std::string whole = parse(*syntax, {answer}, options);
      std::vector<std::string_view> pieces;
      for (std::size_t at = 0; at < answer.size();) {
        const std::size_t length = std::min<std::size_t>(1 + random() % 7, answer.size() - at);
        pieces.push_back(std::string_view(answer).substr(at, length));
        at += length;
      }
      ASSERT_EQ(parse(*syntax, pieces, options), whole) << syntax->name() << ": " << answer;
    }
  }
}

TEST(ToolSyntax, IsRecognisedByTheTemplatesMarks) {
  const std::pair<const char*, const char*> shapes[] = {
      {"{{ '<tools>' }}...{{ '<tool_call>\\n{\"name\": ' }}", "hermes"},
      {"<tool_call>\\n<function=example>\\n<parameter=a>", "qwen-xml"},
      {"<|start_header_id|>...{{ '{\"name\": \"' }}\"parameters\": ", "llama"},
      {"[AVAILABLE_TOOLS]...[TOOL_CALLS]", "mistral"},
      {"'<|' + message['role'] + '|>' + message['content'] + '<|tool|>' + message['tools'] + '<|/tool|>'", "phi4"},
      {"{{'<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>'}}", "deepseek"},
      {"<tool_call>{{ tc.name }}<arg_key>{{ k }}</arg_key>", "glm"},
      {"<|start_of_role|>assistant<|end_of_role|><|tool_call|>", "granite"},
      {"<|start_of_role|>assistant<|end_of_role|><tool_call>", "hermes"},
      {"<|turn>model\\n<|tool_call>call:", "gemma"},
      {"<start_function_call>", "gemma"},
      {"<|start|>assistant<|channel|>final<|message|>", "harmony"},
      {"{{ m.role }}: {{ m.content }}", "hermes"},
  };
  for (const auto& [source, family] : shapes) EXPECT_STREQ(tool_syntax_of_template(source).name(), family) << source;
}

}  // namespace
}  // namespace pensieve
