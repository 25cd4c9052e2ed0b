#include "chat/syntax/tool_syntax.h"

#include <algorithm>

#include "chat/syntax/call_text.h"

namespace pensieve {

// The space before the object is left to the model: it is part of its first token.
std::string ToolSyntax::head(std::string_view tool) const {
  const auto shape = json_shape();
  if (!shape) return {};
  if (tool.empty()) return shape->before_name;
  std::string text = shape->before_name + std::string(tool) + shape->before_input;
  while (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string ToolSyntax::write(const std::vector<ParsedCall>& calls) const {
  std::string text;
  for (const ParsedCall& call : calls) {
    if (!text.empty()) text += '\n';
    text += "<tool_call>\n{\"name\": " + call_text::quoted(call.name) + ", \"arguments\": " + call.input + "}\n</tool_call>";
  }
  return text;
}

// The order is the order of recognition: the more telling mark first.
std::span<const ToolSyntax* const> all_tool_syntaxes() {
  static const ToolSyntax* const all[] = {&harmony_syntax(), &qwen_xml_syntax(), &glm_syntax(),     &gemma_syntax(),  &deepseek_syntax(),
                                          &mistral_syntax(), &phi4_syntax(),     &granite_syntax(), &hermes_syntax(), &llama_syntax()};
  return all;
}

const ToolSyntax* find_tool_syntax(std::string_view name) {
  const auto all = all_tool_syntaxes();
  const auto found = std::ranges::find_if(all, [&](const ToolSyntax* syntax) { return name == syntax->name(); });
  return found == all.end() ? nullptr : *found;
}

const ToolSyntax& tool_syntax_of_template(std::string_view chat_template) {
  const auto all = all_tool_syntaxes();
  const auto found = std::ranges::find_if(all, [&](const ToolSyntax* syntax) { return syntax->recognised_in(chat_template); });
  return found == all.end() ? hermes_syntax() : **found;
}

}  // namespace pensieve
