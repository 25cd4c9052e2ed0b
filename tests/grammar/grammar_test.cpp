// JSON Schemas through the real engine's sampler: what a grammar lets through, and
// that whatever a model of random weights says under one is valid. The seed is
// printed; PENSIEVE_TEST_SEED sets it, PENSIEVE_TEST_ROUNDS how many schemas.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <map>
#include <random>

#include "chat/answer_grammar.h"
#include "chat/answer_parser.h"
#include "chat/json_schema_check.h"
#include "chat/json_schema_grammar.h"
#include "engine/engine.h"

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;

Engine& engine() {
  static const std::unique_ptr<Engine> loaded = [] {
    const std::string path = (std::filesystem::temp_directory_path() / fmt::format("pensieve-grammar-{}.gguf", ::getpid())).string();
    const int code = std::system(fmt::format("{} tiny {} 2>/dev/null", PENSIEVE_MAKE_MODEL, path).c_str());
    EXPECT_EQ(code, 0);
    EngineOptions options;
    options.model_path = path;
    options.slots = 1;
    options.context_tokens = 2048;
    options.threads = 1;
    auto made = load_llama_engine(options, [](double) {});
    std::filesystem::remove(path);  // Mapped already.
    if (!made) {
      std::cerr << made.error().message << '\n';
      std::abort();
    }
    return *std::move(made);
  }();
  return *loaded;
}

std::size_t size() { return static_cast<std::size_t>(engine().vocabulary().size()); }

TokenId token_of_byte(char byte) {
  static const std::map<char, TokenId> known = [] {
    std::map<char, TokenId> map;
    for (TokenId token = 0; token < engine().vocabulary().size(); ++token) {
      const std::string piece = engine().vocabulary().piece(token);
      if (piece.size() == 1) map[piece[0]] = token;
    }
    return map;
  }();
  return known.at(byte);
}

std::unique_ptr<Sampler> sampler_for(const Grammar& grammar, Sampling sampling = {}) {
  auto made = engine().make_sampler(sampling, &grammar);
  EXPECT_TRUE(made.ok()) << (made.ok() ? "" : made.error().message) << "\n" << grammar.rules;
  return made.ok() ? *std::move(made) : nullptr;
}

// Whether the sampler says `token` when the model wants nothing else.
bool says(Sampler& sampler, TokenId token) {
  std::vector<float> logits(size(), 0.0f);
  logits[static_cast<std::size_t>(token)] = 100;
  return sampler.sample(logits) == token;
}

// Whether the whole text may be said under the rules, and the turn may then end.
bool lets_through(const Grammar& grammar, std::string_view text) {
  const auto sampler = sampler_for(grammar);
  if (!sampler) return false;
  for (const char byte : text) {
    if (!says(*sampler, token_of_byte(byte))) return false;
    sampler->accept(token_of_byte(byte));
  }
  return says(*sampler, engine().vocabulary().end_token());
}

Grammar grammar_of(std::string_view schema) {
  const auto made = json_schema_grammar(schema);
  EXPECT_TRUE(made.ok()) << schema << ": " << (made.ok() ? "" : made.error().message);
  return {made.ok() ? made->text : "", ""};
}

struct Case {
  const char* schema;
  std::vector<const char*> good;
  std::vector<const char*> bad;
};

class Grammars : public testing::TestWithParam<Case> {};

TEST_P(Grammars, LetThroughWhatMatchesAndNothingElse) {
  const Grammar grammar = grammar_of(GetParam().schema);
  for (const char* text : GetParam().good) {
    EXPECT_TRUE(lets_through(grammar, text)) << GetParam().schema << " refuses " << text;
    EXPECT_TRUE(json_schema_check(GetParam().schema, text)->empty()) << text;
  }
  for (const char* text : GetParam().bad) EXPECT_FALSE(lets_through(grammar, text)) << GetParam().schema << " allows " << text;
}

INSTANTIATE_TEST_SUITE_P(
    Words, Grammars,
    testing::Values(
        Case{"true", {"1", "null", R"({"a": [1, "b", {}], "c": -1.5e3})", "[]"}, {"", "{", R"({"a"})", "01", "1e", "+1", "[1,]", "nul", "\"\\ud800\"", "\"\\x\"", "'a'"}},
        Case{R"({"type":"string"})", {R"("")", R"("a b\n\u00fc")", R"("\ud83d\ude00")", "\"\xC3\xBC\""}, {"a", "\"a", R"("\ud83d")", "\"\n\"", "\"\xC0\xA2", "\"\xFF\""}},
        Case{R"({"type":"string","minLength":2,"maxLength":3})", {R"("ab")", R"("abc")", R"("\n\u00fc")"}, {R"("a")", R"("abcd")", R"("")"}},
        Case{R"({"type":"string","pattern":"^[a-z]{2}-\\d+$"})", {R"("ab-1")", R"("zz-007")"}, {R"("a-1")", R"("ab-")", R"("ab-1x")"}},
        Case{R"({"type":"string","pattern":"b+"})", {R"("b")", R"("abbc")"}, {R"("")", R"("ac")"}},
        Case{R"~({"type":"string","pattern":"^(a|\"|\\\\|\\n)*$"})~", {R"("a\"\\\n")", R"("")"}, {R"("b")", R"(""")"}},
        Case{R"({"type":"string","format":"date"})", {R"("2026-11-25")", R"("2026-02-28")"}, {R"("2026-11-31")", R"("2026-13-01")", R"("26-01-01")"}},
        Case{R"({"type":"string","format":"date-time"})", {R"("2026-11-25T23:59:59Z")", R"("2026-11-25T00:00:00.5+02:00")"}, {R"("2026-11-25")", R"("2026-11-25T24:00:00Z")"}},
        Case{R"({"type":"string","format":"uuid"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567e89b12d3a456426614174000")"}},
        Case{R"({"type":"string","format":"email"})", {R"("a.b@example.org")"}, {R"("a@b")", R"("@example.org")"}},
        Case{R"({"type":"string","format":"ipv4"})", {R"("127.0.0.1")", R"("255.255.255.255")"}, {R"("256.1.1.1")", R"("1.1.1")"}},
        Case{R"({"type":"integer"})", {"0", "-0", "-12", "123456"}, {"1.0", "01", "-", "1e3"}},
        Case{R"({"type":"integer","minimum":1,"maximum":31})", {"1", "9", "10", "31"}, {"0", "32", "-1", "310", "01"}},
        Case{R"({"type":"integer","minimum":-5,"maximum":205})", {"-5", "-1", "0", "99", "100", "205"}, {"-6", "-15", "206", "300", "1000"}},
        Case{R"({"type":"integer","exclusiveMinimum":99})", {"100", "999", "123456"}, {"99", "98", "0", "-100"}},
        Case{R"({"type":"integer","maximum":-10})", {"-10", "-11", "-99", "-12345"}, {"-9", "0", "10"}},
        Case{R"({"type":"integer","minimum":1234,"maximum":56789})", {"1234", "1999", "9999", "10000", "56789", "49999"}, {"1233", "56790", "60000", "999", "123"}},
        Case{R"({"type":"number"})", {"0", "-1.5", "2e10", "1.25E-3"}, {".5", "1.", "1e999", "--1"}},
        Case{R"({"type":"number","minimum":0,"maximum":1})", {"0", "1", "0.5", "0.999", "1.0"}, {"1.1", "-0.5", "2", "-1"}},
        Case{R"({"type":"number","exclusiveMinimum":0})", {"0.5", "0.000001", "1", "1234.5"}, {"0", "0.0", "-1"}},
        Case{R"({"type":"number","minimum":0.25,"maximum":0.75})", {"0.25", "0.3", "0.5", "0.75", "0.750"}, {"0.2", "0.8", "0.76", "0", "1"}},
        Case{R"({"type":"number","minimum":-1.5,"maximum":2.5})", {"-1.5", "-1", "-0.3", "0", "2", "2.5", "2.49"}, {"-1.6", "-2", "2.6", "3"}},
        Case{R"({"type":"boolean"})", {"true", "false"}, {"True", "1", "tru"}},
        Case{R"({"type":["string","null"]})", {"null", R"("x")"}, {"1"}},
        Case{R"({"type":"integer","nullable":true})", {"null", "3"}, {R"("x")"}},
        Case{R"({"enum":["a","ab",3,null,{"x":[1]}]})", {R"("a")", R"("ab")", "3", "null", R"({"x":[1]})"}, {R"("b")", "4", "{}"}},
        Case{R"({"type":"string","enum":["a",3]})", {R"("a")"}, {"3"}},
        Case{R"({"const":"say \"hi\"\n"})", {R"("say \"hi\"\n")"}, {R"("say")"}},
        Case{R"({"type":"array","items":{"type":"integer"}})", {"[]", "[1]", "[1, 2,3]"}, {R"(["a"])", "[1,", "[,1]"}},
        Case{R"({"type":"array","items":{"type":"boolean"},"minItems":2,"maxItems":3})", {"[true,false]", "[true,false,true]"}, {"[true]", "[]", "[true,true,true,true]"}},
        Case{R"({"type":"array","items":{"type":"integer"},"maxItems":0})", {"[]"}, {"[1]"}},
        Case{R"({"type":"array","items":{"type":"integer"},"maxItems":1})", {"[]", "[1]"}, {"[1,2]"}},
        Case{R"({"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false})", {R"(["a",1])"}, {"[]", R"(["a"])", R"(["a",1,2])", R"([1,"a"])"}},
        Case{R"({"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"minItems":0,"maxItems":3})", {"[]", R"(["a"])", R"(["a",1,2])"}, {"[1]", R"(["a",1,2,3])"}},
        Case{R"({"type":"array","items":{"type":"array","items":{"type":"integer"},"minItems":1}})", {"[]", "[[1],[2,3]]"}, {"[[]]", "[1]"}},
        Case{R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"},"c":{"type":"boolean"}},"required":["b"]})",
             {R"({"b":1})", R"({"a":"x","b":1})", R"({"b": 1, "c": true})", R"({"a":"x","b":1,"c":false})", "{\n  \"b\": 1\n}"},
             {"{}", R"({"a":"x"})", R"({"b":1,"a":"x"})", R"({"b":1,})", R"({,"b":1})", R"({"b":1 "c":true})", R"({"b":1,"d":1})", R"({"b":"x"})"}},
        Case{R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}}})", {"{}", R"({"a":1})", R"({"b":1})", R"({"a":1,"b":2})"}, {R"({"a":1,})", R"({"a":1"b":2})", R"({"c":1})"}},
        Case{R"({"type":"object"})", {"{}", R"({"x":[1],"y":{"z":null}})"}, {R"({"x"})", "[]"}},
        Case{R"({"type":"object","additionalProperties":{"type":"integer"}})", {"{}", R"({"x":1,"y":2})"}, {R"({"x":"a"})"}},
        Case{R"({"type":"object","additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})", {R"({"x":1})", R"({"x":1,"y":2})"}, {"{}", R"({"x":1,"y":2,"z":3})"}},
        Case{R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"x":1})"}},
        Case{R"({"type":"object","properties":{"ab":{"type":"integer"},"ac":{"type":"integer"}},"additionalProperties":{"type":"string"}})",
             {"{}", R"({"ab":1})", R"({"ab":1,"ac":2,"x":"y"})", R"({"a":"y"})", R"({"abc":"y"})", R"({"x":"y","z":"w"})"}, {R"({"ab":"y"})", R"({"x":1})", R"({"ab":1,"ac":"y"})", R"({"x":"y","ab":"z"})"}},
        Case{R"({"type":"object","patternProperties":{"^n[0-9]+$":{"type":"integer"}},"additionalProperties":false})", {"{}", R"({"n1":1,"n22":2})"}, {R"({"x":1})", R"({"n1":"a"})"}},
        Case{R"({"type":"object","properties":{"a":{"type":"integer"}},"required":["a","z"]})", {R"({"a":1,"z":[2]})"}, {R"({"a":1})"}},
        Case{R"({"anyOf":[{"type":"string"},{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]}]})", {R"("a")", R"({"x":1})"}, {"1", "{}"}},
        Case{R"({"type":"object","properties":{"k":{"type":"string"}},"anyOf":[{"required":["k"]},{"properties":{"n":{"type":"integer"}},"required":["n"]}]})",
             {R"({"k":"a"})", R"({"k":"a","n":1})", R"({"n":1})"}, {"{}"}},
        Case{R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"},"x":{"type":"integer"}},"required":["t","x"]},{"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})",
             {R"({"t":"a","x":1})", R"({"t":"b"})"}, {R"({"t":"a"})", R"({"t":"c"})"}},
        Case{R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]},{"properties":{"b":{"type":"string"}},"required":["b"]}]})", {R"({"a":1,"b":"x"})"}, {R"({"a":1})", R"({"b":"x"})"}},
        Case{R"({"allOf":[{"type":"number","minimum":1},{"type":"integer","maximum":3}]})", {"1", "3"}, {"0", "4", "1.5"}},
        Case{R"({"$defs":{"p":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"]}},"type":"array","items":{"$ref":"#/$defs/p"}})", {"[]", R"([{"x":1},{"x":2}])"}, {"[{}]"}},
        Case{R"({"$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"]}},"$ref":"#/$defs/node"})",
             {R"({"v":1,"next":null})", R"({"v":1,"next":{"v":2,"next":null}})"}, {R"({"v":1})", R"({"v":1,"next":{}})"}},
        Case{R"({"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"required":["children"]})", {R"({"children":[]})", R"({"children":[{"children":[]}]})"}, {"{}", R"({"children":[1]})"}},
        Case{R"({"type":"object","properties":{"a":{"$ref":"#/properties/b","description":"as b"},"b":{"type":"integer"}},"required":["a"]})", {R"({"a":1})"}, {R"({"a":"x"})"}},
        Case{R"({"type":"object","properties":{"q\"\\\u00fc":{"type":"null"}},"required":["q\"\\\u00fc"]})", {"{\"q\\\"\\\\\xC3\xBC\":null}"}, {"{}"}}));

TEST(GrammarSampler, ControlTokensDoNotPassAsText) {
  const Grammar grammar = grammar_of(R"({"type":"string"})");
  const auto sampler = sampler_for(grammar);
  sampler->accept(token_of_byte('"'));
  for (TokenId token = 0; token < engine().vocabulary().size(); ++token) {
    if (!engine().vocabulary().piece(token).empty() || engine().vocabulary().ends_turn(token)) continue;
    EXPECT_FALSE(says(*sampler, token)) << engine().vocabulary().control_text(token);
  }
  // Spelled by the rules, it is.
  TokenId user = 0;
  while (engine().vocabulary().control_text(user) != "<|user|>") ++user;
  const auto spelled = sampler_for({"root ::= \"<|user|>\" [a-z]+\n", ""});
  EXPECT_TRUE(says(*spelled, user));
}

TEST(GrammarSampler, HoldsAfterItsMarkerOnly) {
  Grammar grammar = grammar_of(R"({"type":"integer","minimum":10,"maximum":12})");
  grammar.after = "=>";
  EXPECT_TRUE(lets_through(grammar, "anything {[\"=>11"));
  EXPECT_TRUE(lets_through(grammar, "no marker at all"));
  EXPECT_TRUE(lets_through(grammar, "==>12"));
  EXPECT_FALSE(lets_through(grammar, "x=>9"));
  EXPECT_FALSE(lets_through(grammar, "x=>1")) << "the turn may not end before the answer is whole";
}

TEST(GrammarSampler, MarkerThatEndsInsideAToken) {
  // The vocabulary has "ab", "abc"...: a marker "a" is ended by a token that says more.
  TokenId abc = 0;
  while (engine().vocabulary().piece(abc) != "abc") ++abc;
  const auto fits = sampler_for({"root ::= \"bcd\"\n", "a"});
  EXPECT_TRUE(says(*fits, abc));
  fits->accept(abc);
  EXPECT_FALSE(says(*fits, token_of_byte('x')));
  EXPECT_TRUE(says(*fits, token_of_byte('d')));
  const auto does_not = sampler_for({"root ::= \"xyz\"\n", "a"});
  EXPECT_FALSE(says(*does_not, abc));
}

TEST(GrammarSampler, ABadGrammarIsAnError) {
  for (const char* rules : {"root ::= \"a", "nothing ::= \"a\"\n", "root ::= other\n", "root ::= root \"a\"\n"}) {
    const Grammar grammar{rules, ""};
    const auto made = engine().make_sampler({}, &grammar);
    ASSERT_FALSE(made.ok()) << rules;
    EXPECT_EQ(made.error().code, ErrorCode::invalid_argument);
  }
}

TEST(GrammarSampler, ATokenFromElsewhereLetsGoInsteadOfDying) {
  const auto sampler = sampler_for(grammar_of(R"({"type":"integer"})"));
  sampler->accept(token_of_byte('x'));
  sampler->accept(engine().vocabulary().end_token());
  EXPECT_TRUE(says(*sampler, token_of_byte('y')));
}

// ---- random schemas, a random model ----

class RandomSchema {
 public:
  explicit RandomSchema(std::mt19937_64& random) : random_(random) {}

  Json whole() {
    Json schema = any(3);
    schema["$defs"] = {{"leaf", leaf()}, {"tree", {{"type", "object"}, {"properties", {{"v", leaf()}, {"kids", {{"type", "array"}, {"items", {{"$ref", "#/$defs/tree"}}}, {"maxItems", 2}}}}}, {"required", {"v"}}}}};
    return schema;
  }

 private:
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }

  Json leaf() {
    static const std::vector<const char*> kLeaves = {
        R"({"type":"string"})", R"({"type":"string","minLength":1,"maxLength":5})", R"({"type":"string","maxLength":40})", R"({"type":"string","pattern":"^[A-Z]{2,4}[0-9]*$"})",
        R"~({"type":"string","pattern":"^(foo|ba[rz])+\\s?$"})~", R"({"type":"string","pattern":"[^a-y]"})", R"({"type":"string","format":"date-time"})", R"({"type":"string","format":"email"})", R"({"type":"string","format":"uuid"})",
        R"({"type":"integer"})", R"({"type":"integer","minimum":-17,"maximum":1203})", R"({"type":"integer","minimum":0})", R"({"type":"integer","exclusiveMaximum":7})",
        R"({"type":"number"})", R"({"type":"number","minimum":0,"maximum":1})", R"({"type":"number","minimum":-2.25,"maximum":100.5})", R"({"type":"number","exclusiveMinimum":0})",
        R"({"type":"boolean"})", R"({"type":"null"})", R"({"enum":["red","green",3,null]})", R"({"const":{"fixed":[1,2]}})", R"({"type":["integer","null","string"]})", "{}", "true"};
    return Json::parse(kLeaves[static_cast<std::size_t>(below(static_cast<int>(kLeaves.size())))]);
  }

  Json object(int depth) {
    Json schema = {{"type", "object"}, {"properties", Json::object()}};
    Json required = Json::array();
    const int count = below(5);
    for (int i = 0; i < count; ++i) {
      const std::string name = fmt::format("{}{}", std::string(static_cast<std::size_t>(1 + below(2)), 'p'), i);
      schema["properties"][name] = any(depth - 1);
      if (below(2) == 0) required.push_back(name);
    }
    if (!required.empty()) schema["required"] = required;
    if (below(3) == 0) schema["additionalProperties"] = false;
    else if (below(4) == 0) schema["additionalProperties"] = leaf();
    return schema;
  }

  Json any(int depth) {
    if (depth == 0) return below(6) == 0 ? Json{{"$ref", "#/$defs/leaf"}} : strict_object(leaf());
    switch (below(7)) {
      case 0: {
        Json schema = {{"type", "array"}, {"items", any(depth - 1)}};
        if (below(2) == 0) schema["minItems"] = below(3);
        if (below(2) == 0) schema["maxItems"] = 2 + below(3);
        return schema;
      }
      case 1: return {{"anyOf", {any(depth - 1), any(depth - 1)}}};
      case 2: return {{"allOf", {object(depth), object(depth)}}};
      case 3: return {{"$ref", "#/$defs/tree"}};
      case 4: return {{"type", "array"}, {"prefixItems", {any(depth - 1), any(depth - 1)}}, {"items", false}};
      default: return object(depth);
    }
  }
  static Json strict_object(Json leaf) { return leaf.is_boolean() ? Json::object() : leaf; }

  std::mt19937_64& random_;
};

std::uint64_t setting(const char* name, std::uint64_t standard) {
  const char* value = std::getenv(name);
  return value == nullptr ? standard : std::strtoull(value, nullptr, 10);
}

// A model that talks too long is helped to an end: closing what is open gets likelier with every token.
void hurry(std::vector<float>& logits, std::size_t said) {
  const float push = said < 60 ? 0 : static_cast<float>(said - 60) * 0.5f;
  // Long tokens can go round for ever ("ba", "zba", "zba"...): single letters get some of it too.
  for (char letter = 'a'; letter <= 'z'; ++letter) logits[static_cast<std::size_t>(token_of_byte(letter))] += push / 2;
  for (const auto& [byte, weight] : {std::pair('"', 2.0f), std::pair('}', 1.5f), std::pair(']', 1.2f), std::pair('0', 0.8f)}) logits[static_cast<std::size_t>(token_of_byte(byte))] += weight * push;
  logits[static_cast<std::size_t>(engine().vocabulary().end_token())] += 3 * push;
}

TEST(GrammarProperty, WhateverARandomModelSaysIsValid) {
  const std::uint64_t seed = setting("PENSIEVE_TEST_SEED", std::random_device{}());
  const std::uint64_t rounds = setting("PENSIEVE_TEST_ROUNDS", 60);
  std::cout << "PENSIEVE_TEST_SEED=" << seed << " PENSIEVE_TEST_ROUNDS=" << rounds << std::endl;
  std::mt19937_64 random(seed);
  int checked = 0;
  int unfinished = 0;
  std::size_t tokens_said = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const std::string schema = RandomSchema(random).whole().dump();
    const auto made = json_schema_grammar(schema);
    if (!made) {  // Two halves that exclude each other; nothing else may go wrong here.
      EXPECT_NE(made.error().message.find("no value matches"), std::string::npos) << schema << ": " << made.error().message;
      continue;
    }
    Sampling sampling;
    sampling.temperature = round % 3 == 0 ? 0.0f : 1.0f;
    sampling.top_k = round % 3 == 1 ? 40 : 0;
    sampling.top_p = 0.95f;
    sampling.seed = random();
    const Grammar grammar{made->text, ""};
    const auto sampler = sampler_for(grammar, sampling);
    ASSERT_TRUE(sampler) << schema;

    engine().forget(SequenceId{0}, 0);
    std::string text;
    std::vector<TokenId> said;
    TokenId next = 1;
    std::int32_t position = 0;
    bool ended = false;
    while (position < 900) {
      const Row row{SequenceId{0}, position++, next, true};
      ASSERT_TRUE(engine().step(std::span(&row, 1)).ok());
      const auto raw = engine().logits(0);
      std::vector<float> logits(raw.begin(), raw.end());
      hurry(logits, said.size());
      next = sampler->sample(logits);
      if (said.size() == 20) {  // Continued elsewhere, the pick is the same.
        const auto resumed = sampler_for(grammar, sampling);
        for (const TokenId token : said) resumed->accept(token);
        ASSERT_EQ(resumed->sample(logits), next) << schema;
      }
      sampler->accept(next);
      said.push_back(next);
      if (engine().vocabulary().ends_turn(next)) {
        ended = true;
        break;
      }
      text += engine().vocabulary().piece(next);
    }
    tokens_said += said.size();
    if (!ended) {
      ++unfinished;
      continue;
    }
    const auto found = json_schema_check(schema, text);
    ASSERT_TRUE(found.ok()) << schema << "\n" << text;
    if (made->notes.empty()) {
      ASSERT_TRUE(found->empty()) << schema << "\n" << text << "\n" << found->front();
    }
    ++checked;
  }
  std::cout << checked << " schemas, " << tokens_said << " tokens, " << unfinished << " cut off" << std::endl;
  EXPECT_GT(checked, static_cast<int>(rounds) / 2);
}

// ---- calls whose arguments stand one by one ----

constexpr const char* kSpelledSchema =
    R"({"type":"object","properties":{"path":{"type":"string"},"mode":{"type":"string","enum":["read","write"]},"line":{"type":"integer","minimum":1,"maximum":99},"tags":{"type":"array","items":{"type":"string"},"maxItems":3},"deep":{"type":"object","properties":{"on":{"type":"boolean"}},"required":["on"]}},"required":["path","line"],"additionalProperties":false})";

struct SpelledCase {
  const ToolSyntax* syntax;
  std::vector<const char*> good, bad;  // Behind the head.
};

Prompt spelled_prompt() {
  Prompt prompt;
  prompt.tools = {{"edit", "", kSpelledSchema, true, false}};
  prompt.tool_choice = {ToolChoice::Kind::tool, "edit", false};
  return prompt;
}

TEST(SpelledCalls, LetThroughWhatMatchesAndNothingElse) {
  const SpelledCase cases[] = {
      {&qwen_xml_syntax(),
       {"<parameter=path>\na.txt\n</parameter>\n<parameter=line>\n7\n</parameter>\n</function>\n</tool_call>",
        "<parameter=path>\n\n</parameter>\n<parameter=mode>\nread\n</parameter>\n<parameter=line>\n99\n</parameter>\n<parameter=tags>\n[\"a\"]\n</parameter>\n</function>\n</tool_call>",
        "<parameter=path>\nif (a < b) </b> <\n</para\n</parameter>\n<parameter=line>\n7\n</parameter>\n</function>\n</tool_call>"},
       {"</function>\n</tool_call>", "<parameter=line>\n7\n</parameter>\n</function>\n</tool_call>", "<parameter=path>\na\n</parameter>\n<parameter=line>\n100\n</parameter>\n</function>\n</tool_call>",
        "<parameter=path>\na\n</parameter>\n<parameter=mode>\nrun\n</parameter>\n", "<parameter=path>\na\n</parameter>\n<parameter=other>\n"}},
      {&glm_syntax(),
       {"\n<arg_key>path</arg_key>\n<arg_value>a.txt</arg_value>\n<arg_key>line</arg_key>\n<arg_value>7</arg_value>\n</tool_call>",
        "\n<arg_key>path</arg_key>\n<arg_value>two\nlines <arg_value></arg_value>\n<arg_key>line</arg_key>\n<arg_value>7</arg_value>\n<arg_key>deep</arg_key>\n<arg_value>{\"on\": true}</arg_value>\n</tool_call>"},
       {"\n</tool_call>", "\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n</tool_call>", "\n<arg_key>path</arg_key>\n<arg_value>a</arg_value>\n<arg_key>line</arg_key>\n<arg_value>x"}},
      {&gemma_syntax(),
       {"path:<|\"|>a.txt<|\"|>,line:7}<tool_call|>", "path:<|\"|>say \"hi\" <|<|\"|>,mode:<|\"|>write<|\"|>,line:7,tags:[\"a\", \"b\"]}<tool_call|>"},
       {"}<tool_call|>", "line:7}<tool_call|>", "path:<|\"|>a<|\"|>line:7}<tool_call|>", "path:<|\"|>a<|\"|>,line:7,}<tool_call|>", "path:\"a\",line:7}<tool_call|>"}},
  };
  for (const SpelledCase& one : cases) {
    const Prompt prompt = spelled_prompt();
    const auto grammar = answer_grammar(prompt, one.syntax->head("edit"), *one.syntax, {});
    ASSERT_TRUE(grammar && *grammar) << one.syntax->name();
    for (const char* text : one.good) EXPECT_TRUE(lets_through(**grammar, text)) << one.syntax->name() << " refuses " << text << "\n" << (*grammar)->rules;
    for (const char* text : one.bad) EXPECT_FALSE(lets_through(**grammar, text)) << one.syntax->name() << " allows " << text;
  }
}

// Wants the next letter of `mark`, as far as it has begun at the end of `text`.
void want(std::vector<float>& logits, std::string_view text, std::string_view mark, float weight) {
  std::size_t begun = std::min(text.size(), mark.size() - 1);
  while (begun > 0 && !mark.starts_with(text.substr(text.size() - begun))) --begun;
  logits[static_cast<std::size_t>(token_of_byte(mark[begun]))] += weight;
}

TEST(SpelledCalls, WhateverARandomModelSaysIsOneCallOfItsSchema) {
  const std::uint64_t seed = setting("PENSIEVE_TEST_SEED", std::random_device{}());
  std::cout << "PENSIEVE_TEST_SEED=" << seed << std::endl;
  std::mt19937_64 random(seed);
  for (const ToolSyntax* syntax : {&qwen_xml_syntax(), &glm_syntax(), &gemma_syntax()}) {
    const Prompt prompt = spelled_prompt();
    const std::string head = syntax->head("edit");
    const auto grammar = answer_grammar(prompt, head, *syntax, {});
    ASSERT_TRUE(grammar && *grammar) << syntax->name();
    int whole = 0;
    for (int round = 0; round < 6; ++round) {
      Sampling sampling;
      sampling.temperature = 1.0f;
      sampling.top_k = 40;
      sampling.seed = random();
      const auto sampler = sampler_for(**grammar, sampling);
      ASSERT_TRUE(sampler);
      engine().forget(SequenceId{0}, 0);
      std::string text;
      TokenId next = 1;
      bool ended = false;
      for (std::int32_t position = 0; position < 500 && !ended; ++position) {
        const Row row{SequenceId{0}, position, next, true};
        ASSERT_TRUE(engine().step(std::span(&row, 1)).ok());
        const auto raw = engine().logits(0);
        std::vector<float> logits(raw.begin(), raw.end());
        hurry(logits, static_cast<std::size_t>(position) + 40);
        const float push = position < 15 ? 0 : 20 + static_cast<float>(position);
        want(logits, text, (syntax == &qwen_xml_syntax() ? "\n" : "") + syntax->arguments_shape()->never_in_text, push);
        next = sampler->sample(logits);
        sampler->accept(next);
        ended = engine().vocabulary().ends_turn(next);
        if (!ended) text += engine().vocabulary().piece(next);
      }
      if (!ended) continue;
      ++whole;
      const auto parser = make_answer_parser(*syntax, {}, ToolTable(prompt.tools));
      std::vector<AnswerPart> parts;
      parser->push(head + text, parts);
      parser->finish(true, parts);
      ASSERT_EQ(parts.size(), 1u) << syntax->name() << "\n" << head << text;
      ASSERT_EQ(parts[0].kind, AnswerPart::Kind::call) << syntax->name() << "\n" << head << text;
      EXPECT_EQ(parts[0].call.name, "edit");
      const auto violations = json_schema_check(kSpelledSchema, parts[0].call.input);
      ASSERT_TRUE(violations.ok()) << parts[0].call.input;
      EXPECT_TRUE(violations->empty()) << parts[0].call.input << "\n" << violations->front();
    }
    EXPECT_GT(whole, 2) << syntax->name();
  }
}

}  // namespace
}  // namespace pensieve
