// Tools that clients name by a type instead of a schema, because the API's own
// models know them: bash, text editor, memory, computer. Other models must be told.
#pragma once

#include <string_view>

namespace pensieve::anthropic {

struct TypedTool {
  const char* type;  // What the type begins with; a date follows.
  const char* name;
  const char* description;
  const char* input_schema;
};

const TypedTool* find_typed_tool(std::string_view type);  // nullptr: none that a client runs itself.

}  // namespace pensieve::anthropic
