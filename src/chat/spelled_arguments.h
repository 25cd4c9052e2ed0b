// The rules for a call whose arguments are not written as one JSON object but one by
// one, texts as they stand (Qwen3-Coder, GLM, Gemma).
//
// As with JSON: sound before complete. Arguments come in the schema's order, required
// ones always, others or not; a text may be anything that does not hold the mark which ends it;
// everything else is JSON of its own schema. What a text's schema says beyond a list of values
// (pattern, length, format) becomes a note, and is checked when the call is whole.
//
//   Threads  any: pure functions.
//   Errors   invalid_argument: a schema that cannot be used, beginning with its place.
#pragma once

#include <string>

#include "base/result.h"
#include "chat/json_schema_grammar.h"
#include "chat/syntax/tool_syntax.h"
#include "core/request.h"

namespace pensieve {

// Adds rules for all that follows `after_name`, to the end of the call; returns their name. `insist`: the schema
// must be usable as a whole; otherwise what cannot be used leaves its argument, or all of them, free.
Result<std::string> add_spelled_arguments(GrammarBuilder& builder, const Tool& tool, std::size_t index, const ArgumentsShape& shape, bool insist);

}  // namespace pensieve
