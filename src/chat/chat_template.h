// From a prompt to the text a model reads: the Jinja template that the model's
// file carries, run by minja, or a built-in one by name. Knows what the template
// can do, by trying it once at load, and makes up for the rest: tools in words of
// our own, a system message between turns, results of tools, ids of calls.
//
//   Owns     the parsed template.
//   Threads  render(): one at a time; the worker keeps it on its wire thread. All
//            else is constant.
//   Errors   invalid_argument: the template does not parse, or refuses these
//            messages (its own words are passed on).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chat/answer_parser.h"
#include "core/request.h"
#include "engine/engine.h"

namespace pensieve {

struct RenderedPrompt {
  std::string text;
  std::string opening;  // The end of `text` that belongs to the answer: see GenerateRequest::opening.
  // What stands in `text` for each of the prompt's images. Nothing else in the prompt says it.
  std::vector<std::string> image_marks;
};

// What the template was found to do.
struct ChatAbilities {
  bool tools = false;           // Shows tools and calls by itself; otherwise a prompt of ours does.
  bool tool_results = false;    // Has a role for them; otherwise they are what the user says.
  bool system_inside = false;   // Takes a system message between turns; otherwise its neighbour does.
  bool user_after_tool = false; // Takes words of the user right after a result; otherwise the result does.
  bool call_ids_short = false;  // Takes only ids of nine letters and digits.
  bool arguments_object = true; // Wants arguments as an object; otherwise as text.
  bool thinking_switch = false; // Can be told whether to think.
};

class ChatTemplate {
 public:
  // `choice`: empty for the model's own (a model without one gets chatml), the
  // name of a built-in (chatml, phi3, llama3, plain), or Jinja source.
  // `tool_syntax`: empty for the one that the template shows, or a family's name.
  static Result<ChatTemplate> make(std::string_view choice, const std::string& from_model, const Vocabulary& vocabulary, std::string_view tool_syntax = {});

  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The prompt up to where the assistant speaks, or goes on speaking.
  Result<RenderedPrompt> render(const Prompt& prompt) const;

  const std::string& name() const;  // "model", a built-in's name, or "custom".
  const ToolSyntax& tool_syntax() const;
  const ThinkingMarks& thinking_marks() const;
  const ChatAbilities& abilities() const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<Parsed> parsed);
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace pensieve
