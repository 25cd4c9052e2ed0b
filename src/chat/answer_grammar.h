// What an answer is held to: a JSON schema for the whole of it, the call that must
// be made, or the calls of strict tools once they are begun.
//
//   Threads  any: a pure function.
//   Errors   invalid_argument: a schema that must be kept and cannot be used. That
//            of a tool which nobody insists on never fails a request.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.h"
#include "chat/answer_parser.h"
#include "core/request.h"

namespace pensieve {

// `opening` as the chat template rendered it. nullopt: the answer is free.
Result<std::optional<Grammar>> answer_grammar(const Prompt& prompt, std::string_view opening, const ToolSyntax& syntax, const ThinkingMarks& thinking);

}  // namespace pensieve
