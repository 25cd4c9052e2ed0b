// The text of the grammar: limits, notes, errors. That the engine reads it, and
// that what comes out of it is valid, is tests/grammar's.
#include "chat/json_schema_grammar.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace pensieve {
namespace {

std::string notes_of(std::string_view schema) {
  const auto grammar = json_schema_grammar(schema);
  EXPECT_TRUE(grammar.ok()) << (grammar.ok() ? "" : grammar.error().message);
  std::string all;
  if (grammar.ok()) {
    for (const std::string& note : grammar->notes) all += note + "\n";
  }
  return all;
}

Error error_of(std::string_view schema, GrammarLimits limits = {}) {
  const auto grammar = json_schema_grammar(schema, "schema", limits);
  EXPECT_FALSE(grammar.ok()) << schema;
  return grammar.ok() ? Error{} : grammar.error();
}

TEST(JsonSchemaGrammar, IsAPureFunctionOfTheSchema) {
  constexpr const char* kSchema = R"({"type":"object","properties":{"b":{"type":"string"},"a":{"$ref":"#"}},"required":["b"]})";
  const auto once = json_schema_grammar(kSchema);
  const auto again = json_schema_grammar(kSchema);
  ASSERT_TRUE(once.ok() && again.ok());
  EXPECT_EQ(once->text, again->text);
  EXPECT_NE(once->text.find("root ::= "), std::string::npos);
  EXPECT_TRUE(once->notes.empty());
}

TEST(JsonSchemaGrammar, WhatItCannotSayIsNoted) {
  EXPECT_EQ(notes_of(R"({"type":"array","items":{"type":"integer"},"uniqueItems":true})"), "schema: uniqueItems is not enforced while generating\n");
  EXPECT_NE(notes_of(R"~({"type":"object","properties":{"a":{"type":"string","pattern":"(?=x)"}}})~").find("schema.properties.a: the pattern uses a look-ahead"), std::string::npos);
  EXPECT_NE(notes_of(R"({"type":"string","format":"iri"})").find("format 'iri'"), std::string::npos);
  EXPECT_NE(notes_of(R"({"type":"number","multipleOf":0.5})").find("multipleOf"), std::string::npos);
  EXPECT_NE(notes_of(R"({"type":"string","maxLength":100000})").find("1000"), std::string::npos);
  EXPECT_NE(notes_of(R"({"not":{"type":"string"},"type":"integer"})").find("not"), std::string::npos);
  EXPECT_NE(notes_of(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})").find("exactly one"), std::string::npos);
  EXPECT_EQ(notes_of(R"({"type":"object","description":"d","title":"t","properties":{"x":{"type":"integer","default":1,"examples":[2]}},"$schema":"s"})"), "");
}

TEST(JsonSchemaGrammar, ErrorsNameThePlace) {
  EXPECT_EQ(error_of("{").message, "schema: the schema is not JSON");
  EXPECT_EQ(error_of("3").message, "schema: a schema is an object, true or false");
  EXPECT_EQ(error_of(R"({"type":"object","properties":{"a":{"type":"strin"}}})").message,
            "schema.properties.a: type 'strin' is none of object, array, string, integer, number, boolean, null");
  EXPECT_EQ(error_of(R"({"$ref":"#/$defs/none"})").message, "schema: $ref '#/$defs/none' leads nowhere");
  EXPECT_EQ(error_of(R"({"$ref":"https://example.com/s"})").message, "schema: $ref 'https://example.com/s' leads outside of the schema");
  EXPECT_EQ(error_of(R"({"type":"string","minLength":-1})").message, "schema: minLength must be an integer of at least 0");
  EXPECT_EQ(error_of(R"({"properties":{"a":{"anyOf":[]}}})").message, "schema.properties.a: anyOf must be a non-empty array");
}

TEST(JsonSchemaGrammar, NothingMatchesIsAnError) {
  for (const char* schema : {"false", R"({"enum":[]})", R"({"type":"string","enum":[1]})", R"({"type":"integer","minimum":5,"maximum":4})",
                             R"({"allOf":[{"type":"string"},{"type":"integer"}]})", R"({"type":"array","minItems":2,"maxItems":1})",
                             R"({"type":"object","properties":{"a":false},"required":["a"]})", R"({"type":"string","minLength":3,"maxLength":2})"}) {
    EXPECT_EQ(error_of(schema).message, "schema: no value matches the schema") << schema;
  }
}

TEST(JsonSchemaGrammar, SelfReferenceMustReadSomething) {
  EXPECT_EQ(error_of(R"({"$ref":"#"})").code, ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(R"({"anyOf":[{"type":"string"},{"$ref":"#"}]})").code, ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(R"({"$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}},"$ref":"#/$defs/a"})").code, ErrorCode::invalid_argument);
  EXPECT_EQ(error_of(R"({"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"},{"type":"string"}]}},"$ref":"#/$defs/a"})").code, ErrorCode::invalid_argument);
  EXPECT_EQ(notes_of(R"({"$defs":{"n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}}}},"$ref":"#/$defs/n"})"), "");
  EXPECT_EQ(notes_of(R"({"type":"array","items":{"allOf":[{"$ref":"#"},{"description":"again"}]}})"), "");
}

TEST(JsonSchemaGrammar, HostileSchemasAreBounded) {
  std::string deep = "true";
  for (int i = 0; i < 100; ++i) deep = R"({"type":"array","items":)" + deep + "}";
  EXPECT_EQ(error_of(deep).code, ErrorCode::too_large);
  EXPECT_EQ(error_of(std::string(100000, '[')).code, ErrorCode::too_large);
  EXPECT_EQ(error_of(std::string(300000, ' ') + "{}").code, ErrorCode::too_large);
  std::string wide = R"({"anyOf":[)";
  for (int i = 0; i < 3000; ++i) wide += fmt::format(R"({}{{"type":"string","minLength":{},"maxLength":900}})", i == 0 ? "" : ",", i % 800);
  EXPECT_EQ(error_of(wide + "]}").code, ErrorCode::too_large);
  // Each level would double, if equal halves were not seen to be equal.
  std::string twice = R"({"$ref":"#/$defs/d0","$defs":{)";
  for (int i = 0; i < 40; ++i) twice += fmt::format(R"("d{0}":{{"allOf":[{{"$ref":"#/$defs/d{1}"}},{{"$ref":"#/$defs/d{1}"}},{{"minLength":{0}}}]}},)", i, i + 1);
  EXPECT_EQ(notes_of(twice + R"("d40":{"type":"string"}}})"), "");
  EXPECT_EQ(error_of(R"({"type":"object","properties":{"a":{"type":"string","enum":[")" + std::string(200000, 'x') + R"("]},"b":{"const":")" + std::string(1000, 'y') + R"("}}})",
                     GrammarLimits{.grammar_bytes_max = 100000}).code,
            ErrorCode::too_large);
}

TEST(JsonSchemaGrammar, BuilderJoinsSchemasAndRulesOfOnesOwn) {
  GrammarBuilder builder;
  const auto one = builder.add_schema(R"({"type":"object","properties":{"path":{"type":"string"}},"required":["path"]})", "tools.0.input_schema");
  const auto two = builder.add_schema(R"({"type":"integer"})", "tools.1.input_schema");
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_NE(*one, *two);
  builder.add_rule("root", fmt::format("{} {} | {}", GrammarBuilder::literal("say \"\\\n"), *one, *two));
  EXPECT_NE(builder.text().find("root ::= \"say \\\"\\\\\\x0A\" " + *one), std::string::npos);
  EXPECT_FALSE(builder.add_schema("{\"type\":4}", "tools.2.input_schema").ok());
}

}  // namespace
}  // namespace pensieve
