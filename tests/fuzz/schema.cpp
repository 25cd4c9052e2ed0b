// JSON Schema to grammar, and the check of a value against it.
//
//   input   the schema; after an empty line, the value.
#include "base/check.h"
#include "chat/json_schema_check.h"
#include "chat/json_schema_grammar.h"
#include "fuzz.h"

using namespace pensieve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input = view_of(data, size);
  const std::size_t cut = input.find("\n\n");
  const std::string_view schema = input.substr(0, cut);
  const std::string_view value = cut == std::string_view::npos ? std::string_view("{}") : input.substr(cut + 2);

  GrammarLimits limits;
  limits.grammar_bytes_max = 64u << 10;
  const Result<SchemaGrammar> grammar = json_schema_grammar(schema, "schema", limits);
  if (grammar) {
    CHECK(grammar->text.find("root ::= ") != std::string::npos, "a grammar has a root");
    CHECK(grammar->text.find('\0') == std::string::npos, "a grammar is a C string to the engine");
    CHECK(grammar->notes.size() <= 50, "notes are bounded");
    const Result<SchemaGrammar> again = json_schema_grammar(schema, "schema", limits);
    CHECK(again.ok() && again->text == grammar->text, "the same schema gives the same grammar");
  } else {
    CHECK(grammar.error().code == ErrorCode::invalid_argument || grammar.error().code == ErrorCode::too_large, "a bad schema is the client's mistake");
    CHECK(grammar.error().message.starts_with("schema"), "an error begins with its place");
  }

  if (const Result<std::vector<std::string>> violations = json_schema_check(schema, value)) {
    CHECK(violations->size() <= kViolationsMax, "violations are bounded");
  }
  return 0;
}
