#include "api/anthropic/typed_tools.h"

namespace pensieve::anthropic {
namespace {

constexpr TypedTool kTypedTools[] = {
    {"bash_", "bash", "Runs a command in a shell that stays open between calls, and returns what it printed. Give restart: true to start a new shell.",
     R"({"type":"object","properties":{"command":{"type":"string","description":"The command to run"},"restart":{"type":"boolean","description":"Start the shell anew; no command is needed then"}}})"},
    {"text_editor_", "str_replace_based_edit_tool",
     "Shows, makes and changes text files. view shows a file or a folder; create writes a whole file; str_replace replaces old_str, which must stand in the file exactly once, by new_str; "
     "insert puts insert_text behind line insert_line.",
     R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert"]},"path":{"type":"string","description":"Path of the file or folder"},)"
     R"("view_range":{"type":"array","items":{"type":"integer"},"description":"First and last line to view; -1 is the end"},"file_text":{"type":"string","description":"For create: the whole text"},)"
     R"("old_str":{"type":"string"},"new_str":{"type":"string"},"insert_line":{"type":"integer","description":"0 is before the first line"},"insert_text":{"type":"string"}},"required":["command","path"]})"},
    {"memory_", "memory",
     "Keeps notes in files under /memories that outlast this conversation. Look there first. view shows a file or folder; create, str_replace and insert change files; delete and rename do what they say.",
     R"({"type":"object","properties":{"command":{"type":"string","enum":["view","create","str_replace","insert","delete","rename"]},"path":{"type":"string"},"view_range":{"type":"array","items":{"type":"integer"}},)"
     R"("file_text":{"type":"string"},"old_str":{"type":"string"},"new_str":{"type":"string"},"insert_line":{"type":"integer"},"insert_text":{"type":"string"},"old_path":{"type":"string"},"new_path":{"type":"string"}},)"
     R"("required":["command"]})"},
    {"computer_", "computer", "Uses the screen, the mouse and the keyboard of a computer.",
     R"({"type":"object","properties":{"action":{"type":"string"},"coordinate":{"type":"array","items":{"type":"integer"}},"text":{"type":"string"},"duration":{"type":"number"},)"
     R"("scroll_direction":{"type":"string","enum":["up","down","left","right"]},"scroll_amount":{"type":"integer"},"start_coordinate":{"type":"array","items":{"type":"integer"}}},"required":["action"]})"},
};

}  // namespace

const TypedTool* find_typed_tool(std::string_view type) {
  for (const TypedTool& tool : kTypedTools) {
    if (type.starts_with(tool.type)) return &tool;
  }
  return nullptr;
}

}  // namespace pensieve::anthropic
