#include "chat/json_schema_check.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

std::string first_violation(std::string_view schema, std::string_view value) {
  const auto found = json_schema_check(schema, value);
  EXPECT_TRUE(found.ok()) << schema << " " << value;
  return !found.ok() || found->empty() ? "" : found->front();
}

TEST(JsonSchemaCheck, EachWord) {
  struct Case {
    const char* schema;
    const char* good;
    const char* bad;
  };
  for (const auto& [schema, good, bad] : {
           Case{R"({"type":"integer"})", "3.0", "3.5"},
           Case{R"({"type":["string","null"]})", "null", "1"},
           Case{R"({"type":"string","nullable":true})", "null", "1"},
           Case{R"({"enum":[1,"a",{"b":2}]})", R"({"b":2.0})", "2"},
           Case{R"({"const":[1]})", "[1]", "[2]"},
           Case{R"({"minLength":2})", R"("üü")", R"("ü")"},
           Case{R"({"maxLength":2})", R"("üü")", R"("abc")"},
           Case{R"({"pattern":"^a+$"})", R"("aa")", R"("ab")"},
           Case{R"({"format":"date"})", R"("2026-11-25")", R"("2026-13-25")"},
           Case{R"({"format":"uuid"})", R"("123e4567-e89b-12d3-a456-426614174000")", R"("123e4567")"},
           Case{R"({"minimum":2})", "2", "1"},
           Case{R"({"exclusiveMinimum":2})", "2.1", "2"},
           Case{R"({"maximum":2,"exclusiveMaximum":true})", "1", "2"},
           Case{R"({"multipleOf":0.1})", "0.3", "0.35"},
           Case{R"({"items":{"type":"string"}})", R"(["a"])", "[1]"},
           Case{R"({"prefixItems":[{"type":"string"}],"items":false})", R"(["a"])", R"(["a",1])"},
           Case{R"({"minItems":1,"maxItems":2,"uniqueItems":true})", "[1,2]", "[1,1.0]"},
           Case{R"({"contains":{"const":1}})", "[2,1]", "[2]"},
           Case{R"({"required":["a"]})", R"({"a":1})", "{}"},
           Case{R"({"properties":{"a":{"type":"string"}},"additionalProperties":false})", R"({"a":"x"})", R"({"b":1})"},
           Case{R"({"patternProperties":{"^x":{"type":"integer"}},"additionalProperties":false})", R"({"xa":1})", R"({"a":1})"},
           Case{R"({"propertyNames":{"maxLength":2}})", R"({"ab":1})", R"({"abc":1})"},
           Case{R"({"minProperties":1})", R"({"a":1})", "{}"},
           Case{R"({"dependentRequired":{"a":["b"]}})", R"({"b":1})", R"({"a":1})"},
           Case{R"({"allOf":[{"minimum":1},{"maximum":3}]})", "2", "4"},
           Case{R"({"anyOf":[{"type":"string"},{"minimum":5}]})", "6", "4"},
           Case{R"({"oneOf":[{"type":"integer"},{"minimum":5}]})", "4", "6"},
           Case{R"({"not":{"type":"string"}})", "1", R"("a")"},
           Case{R"({"if":{"minimum":5},"then":{"multipleOf":2},"else":{"maximum":3}})", "6", "7"},
           Case{R"({"$defs":{"t":{"type":"object","properties":{"t":{"$ref":"#/$defs/t"}},"additionalProperties":false}},"$ref":"#/$defs/t"})", R"({"t":{"t":{}}})", R"({"t":{"u":1}})"},
           Case{R"({"properties":{"a":false}})", "{}", R"({"a":1})"},
       }) {
    EXPECT_EQ(first_violation(schema, good), "") << schema;
    EXPECT_NE(first_violation(schema, bad), "") << schema;
  }
}

TEST(JsonSchemaCheck, NamesThePlace) {
  EXPECT_EQ(first_violation(R"({"properties":{"a":{"items":{"type":"string"}}}})", R"({"a":["x",3]})"), "a[1]: is number, not \"string\"");
  EXPECT_EQ(first_violation(R"({"required":["x"]})", "{}"), "the value: lacks \"x\"");
}

TEST(JsonSchemaCheck, HostileOnesEnd) {
  EXPECT_NE(first_violation(R"({"$ref":"#"})", "1"), "");
  EXPECT_NE(first_violation(R"({"anyOf":[{"$ref":"#"},{"$ref":"#"}]})", "1"), "");
  EXPECT_FALSE(json_schema_check("{", "1").ok());
  EXPECT_FALSE(json_schema_check("{}", "{").ok());
}

}  // namespace
}  // namespace pensieve
