// How one family of models writes a call of a tool: recognised from the model's
// chat template, parsed while the answer streams, written back where a template
// cannot do it. One file for each family; all are stateless and live for ever.
//
//   Threads  any: constant.
//   Errors   a call that is not well-formed is State::malformed, and whoever
//            scans shows it as text: it never costs the answer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/request.h"

namespace pensieve {

struct ParsedCall {
  std::string name;
  std::string input;  // A JSON object, as text.
  bool operator==(const ParsedCall&) const = default;
};

struct CallScan {
  enum class State { incomplete, complete, malformed };
  State state = State::incomplete;
  std::size_t bytes = 0;          // Of the scanned text, taken by `calls` and their marks. For State::complete.
  std::vector<ParsedCall> calls;  // At least one when complete.
};

// How a call whose input is JSON is spelled: before_name NAME before_input OBJECT after_input.
struct CallShape {
  std::string before_name, before_input, after_input;
};

// How a call is spelled whose arguments stand one by one, each text as it is:
//   before_name NAME after_name (before_key KEY after_key VALUE after_value)* end
// with `between` between two arguments, and texts inside text_open and text_close.
struct ArgumentsShape {
  std::string before_name, after_name;
  std::string before_key, after_key, after_value, between;
  std::string text_open, text_close;
  std::string never_in_text;  // The mark that ends a text; its first character stands in it once.
  std::string end;
};

// The tools of one request, as far as a parser must know them.
class ToolTable {
 public:
  ToolTable() = default;
  explicit ToolTable(const std::vector<Tool>& tools);

  bool empty() const { return types_.empty(); }
  bool has(std::string_view tool) const { return types_.contains(tool); }
  // Whether the schema says that this parameter is a string (or says nothing of it).
  bool is_text(std::string_view tool, std::string_view parameter) const;

 private:
  std::map<std::string, std::map<std::string, bool, std::less<>>, std::less<>> types_;
};

class ToolSyntax {
 public:
  virtual ~ToolSyntax() = default;

  virtual const char* name() const = 0;
  virtual bool recognised_in(std::string_view chat_template) const = 0;

  // What a call, or a group of calls, begins with.
  virtual std::span<const std::string_view> openers() const = 0;
  // Every mark it knows. In many models these are control tokens: a parser must see
  // them, while all other control tokens stay out of the answer.
  virtual std::span<const std::string_view> marks() const { return openers(); }
  // Calls may also begin the answer without an opener, with one of these characters.
  virtual std::string_view bare_openers() const { return {}; }
  // Bytes one of which must have come before another scan() can say more.
  virtual std::string_view triggers() const = 0;
  // `text` begins with an opener. `ended`: the model ended its turn here.
  virtual CallScan scan(std::string_view text, bool ended, const ToolTable& tools) const = 0;

  // One of the two: the input is one JSON object, or its arguments stand one by one.
  virtual std::optional<CallShape> json_shape() const { return std::nullopt; }
  virtual std::optional<ArgumentsShape> arguments_shape() const { return std::nullopt; }
  // What an answer begins with that must be a call; of `tool`, or of any when empty.
  virtual std::string head(std::string_view tool) const;
  // The calls as the model itself would write them.
  virtual std::string write(const std::vector<ParsedCall>& calls) const;
};

// Every family; the first that recognises a template is its own.
std::span<const ToolSyntax* const> all_tool_syntaxes();
const ToolSyntax* find_tool_syntax(std::string_view name);               // nullptr: no such family.
const ToolSyntax& tool_syntax_of_template(std::string_view chat_template);  // Hermes where nothing is recognised.

const ToolSyntax& hermes_syntax();
const ToolSyntax& qwen_xml_syntax();
const ToolSyntax& llama_syntax();
const ToolSyntax& mistral_syntax();
const ToolSyntax& phi4_syntax();
const ToolSyntax& deepseek_syntax();
const ToolSyntax& glm_syntax();
const ToolSyntax& granite_syntax();
const ToolSyntax& gemma_syntax();
const ToolSyntax& harmony_syntax();

}  // namespace pensieve
