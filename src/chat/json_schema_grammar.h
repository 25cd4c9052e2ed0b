// From a JSON Schema to a grammar that the engine can hold a model to (GBNF, as
// libllama reads it), so that what is sampled is valid JSON of that schema.
//
// The grammar is sound before it is complete: whatever it lets through is valid
// JSON and has the shape it could express; where exactness would cost a huge
// grammar, it allows less rather than more (properties come in the schema's
// order, an object with `properties` gets no others unless asked for). What it
// cannot express is left out and named in notes(): check the finished value with
// json_schema_check.
//
//   Owns     the rules collected so far.
//   Threads  any, one at a time; json_schema_grammar() is a pure function.
//   Errors   invalid_argument: no JSON, no schema, a $ref that leads nowhere or
//            only to itself, or a schema that nothing matches; too_large: beyond
//            the limits below. Messages begin with the place in the schema.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct GrammarLimits {
  std::size_t schema_bytes_max = 256u << 10;
  std::size_t grammar_bytes_max = 512u << 10;
  std::size_t schemas_max = 20000;    // Subschemas looked at, merged ones counted again.
  int depth_max = 64;                 // Nesting.
  int repetitions_max = 1000;         // Of one item: libllama writes a repetition out.
  int repetitions_sum_max = 20000;    // Of all.
};

// Collects rules. A grammar for tool calls is made of a schema a tool and rules
// of one's own around them; the one named "root" is where the engine starts.
class GrammarBuilder {
 public:
  explicit GrammarBuilder(GrammarLimits limits = {});
  GrammarBuilder(GrammarBuilder&&) noexcept;
  GrammarBuilder& operator=(GrammarBuilder&&) noexcept;
  ~GrammarBuilder();

  // Adds what one value of the schema looks like; returns its rule's name.
  // `schema` is the schema's JSON text; `place` begins error messages and notes.
  Result<std::string> add_schema(std::string_view schema, std::string_view place);

  // Adds `name ::= body`. Names are letters, digits and '-'; those beginning with
  // "j-" are the builder's own. The body is GBNF and not checked here.
  void add_rule(std::string_view name, std::string_view body);

  bool has_rule(std::string_view name) const;  // One's own.
  void add_note(std::string note);             // Beside the builder's own.

  static std::string literal(std::string_view text);  // Quoted for a body.

  std::string text() const;                       // All rules.
  const std::vector<std::string>& notes() const;  // "place: what is not enforced", each once, at most 50.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct SchemaGrammar {
  std::string text;  // Its start is "root".
  std::vector<std::string> notes;
};

Result<SchemaGrammar> json_schema_grammar(std::string_view schema, std::string_view place = "schema", GrammarLimits limits = {});

}  // namespace pensieve
