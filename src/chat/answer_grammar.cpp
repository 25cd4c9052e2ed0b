#include "chat/answer_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "chat/json_schema_grammar.h"
#include "chat/spelled_arguments.h"

namespace pensieve {
namespace {

constexpr std::string_view kHarmonyFinal = "<|channel|>final<|message|>";

// The input of a call is an object, whatever its schema leaves open.
std::string object_schema(const std::string& schema) {
  auto json = nlohmann::ordered_json::parse(schema, nullptr, false);
  if (!json.is_object()) return R"({"type":"object"})";
  if (!json.contains("type") && !json.contains("$ref")) json["type"] = "object";
  return json.dump();
}

// The rule for one tool's input. A schema that cannot be used leaves the object free, unless the tool is strict.
Result<std::string> add_input(GrammarBuilder& builder, const Tool& tool, std::size_t index, bool insist) {
  auto rule = builder.add_schema(object_schema(tool.input_schema), fmt::format("tools.{}.input_schema", index));
  if (rule || insist) return rule;
  log::debug("{}: its calls are any JSON object", rule.error().message);
  return builder.add_schema(R"({"type":"object"})", tool.name);
}

// How a family's calls are held: `before_name` NAME, then what follow() says.
struct Spelling {
  std::optional<CallShape> json;
  std::optional<ArgumentsShape> spelled;

  explicit Spelling(const ToolSyntax& syntax) : json(syntax.json_shape()), spelled(syntax.arguments_shape()) {}
  explicit operator bool() const { return json || spelled; }
  const std::string& before_name() const { return json ? json->before_name : spelled->before_name; }
  const std::string& after_name() const { return json ? json->before_input : spelled->after_name; }

  // All that comes behind after_name, to the call's end.
  Result<std::string> input(GrammarBuilder& builder, const Tool& tool, std::size_t index) const {
    if (spelled) return add_spelled_arguments(builder, tool, index, *spelled, tool.strict);
    auto object = add_input(builder, tool, index, tool.strict);
    if (!object || json->after_input.empty()) return object;
    return *object + " " + GrammarBuilder::literal(json->after_input);
  }

  // Marks that the rules hold spelled by their characters, or escaped, as they are: where they are
  // control tokens of the model, the sampler lets those pass that the rules' text names.
  void name_marks(GrammarBuilder& builder) const {
    if (spelled) builder.add_rule("marks", fmt::format("\"\" # {} {}", spelled->text_open, spelled->never_in_text));
  }
};

// NAME after_name and what follows, one for each tool.
Result<std::string> alternatives(GrammarBuilder& builder, const Prompt& prompt, const Spelling& spelling) {
  std::string body;
  for (std::size_t i = 0; i < prompt.tools.size(); ++i) {
    const Tool& tool = prompt.tools[i];
    auto input = spelling.input(builder, tool, i);
    if (!input) return input;
    body += (body.empty() ? "" : " | ") + GrammarBuilder::literal(tool.name + spelling.after_name()) + " " + *input;
  }
  builder.add_rule("call", body);
  return std::string("call");
}

// Whoever insists on a schema waits until what a grammar cannot say is checked.
Grammar made(const GrammarBuilder& builder, std::string after, const Prompt& prompt) {
  for (const std::string& note : builder.notes()) log::debug("{}", note);
  return {builder.text(), std::move(after), builder.notes().empty() || std::ranges::none_of(prompt.tools, &Tool::strict)};
}

Result<std::optional<Grammar>> schema_grammar(const Prompt& prompt, std::string_view opening, const ToolSyntax& syntax, const ThinkingMarks& thinking) {
  auto grammar = json_schema_grammar(prompt.json_schema, "json_schema");
  if (!grammar) return std::move(grammar).error();
  for (const std::string& note : grammar->notes) log::debug("{}", note);
  const bool thinks = !thinking.open.empty() && opening.find(thinking.open) != std::string_view::npos;
  std::string after = thinks ? thinking.close : std::string();
  if (&syntax == &harmony_syntax() && !opening.ends_with(kHarmonyFinal)) after = kHarmonyFinal;
  return std::optional(Grammar{std::move(grammar->text), std::move(after)});
}

}  // namespace

Result<std::optional<Grammar>> answer_grammar(const Prompt& prompt, std::string_view opening, const ToolSyntax& syntax, const ThinkingMarks& thinking) {
  const Spelling spelling(syntax);
  const ToolChoice& choice = prompt.tool_choice;
  const bool begun = spelling && !opening.empty() && opening == syntax.head(choice.name);
  GrammarBuilder builder;
  spelling.name_marks(builder);

  if (begun && choice.kind == ToolChoice::Kind::tool) {
    const auto tool = std::ranges::find(prompt.tools, choice.name, &Tool::name);
    if (tool == prompt.tools.end()) return std::optional<Grammar>();
    auto input = spelling.input(builder, *tool, static_cast<std::size_t>(tool - prompt.tools.begin()));
    if (!input) return std::move(input).error();
    // The head may have left a space to the model, or a line break.
    const std::string rest = (spelling.before_name() + tool->name + spelling.after_name()).substr(opening.size());
    const std::string before = rest.empty() ? "" : rest == " " ? "\" \"? " : GrammarBuilder::literal(rest) + " ";
    builder.add_rule("root", before + *input);
    return std::optional(made(builder, "", prompt));
  }
  if (begun && choice.kind == ToolChoice::Kind::any) {
    auto calls = alternatives(builder, prompt, spelling);
    if (!calls) return std::move(calls).error();
    builder.add_rule("root", *calls);
    return std::optional(made(builder, "", prompt));
  }
  if (!prompt.json_schema.empty()) return schema_grammar(prompt, opening, syntax, thinking);

  // A strict tool may be called or not: the rules hold once a call is begun. While the model thinks, a mark
  // is only spoken of.
  const bool strict = std::ranges::any_of(prompt.tools, &Tool::strict);
  if (!strict || choice.kind == ToolChoice::Kind::none) return std::optional<Grammar>();
  auto calls = alternatives(builder, prompt, spelling);
  if (!calls) return std::move(calls).error();
  // A channel is opened for much that is no call; the rules begin where the address of a function does.
  const std::string opener = &syntax == &harmony_syntax() ? spelling.before_name() : std::string(syntax.openers().front());
  if (!opening.empty() || !spelling.before_name().starts_with(opener)) return std::optional<Grammar>();
  std::string_view rest = std::string_view(spelling.before_name()).substr(opener.size());
  const bool line_break = rest.starts_with('\n');
  if (line_break) rest.remove_prefix(1);
  const std::string one = std::string(line_break ? "\"\\n\"? " : "") + (rest.empty() ? "" : GrammarBuilder::literal(rest) + " ") + *calls;
  builder.add_rule("one", one);
  builder.add_rule("root", choice.one_at_most ? std::string("one") : "one (\"\\n\"? " + GrammarBuilder::literal(opener) + " one)*");
  return std::optional(made(builder, opener, prompt));
}

}  // namespace pensieve
