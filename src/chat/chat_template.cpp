#include "chat/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>

#include <minja/chat-template.hpp>

namespace pensieve {
namespace {

struct Builtin {
  std::string_view name;
  const char* source;
};

constexpr Builtin kBuiltins[] = {
    {"chatml",
     "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"},
    {"phi3",
     "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"},
    {"llama3",
     "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] + '<|eot_id|>' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"},
    {"plain",
     "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\\n' }}{% endfor %}"
     "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"},
};

using Json = nlohmann::ordered_json;

bool has(std::string_view text, std::string_view word) { return text.find(word) != std::string_view::npos; }

// Nine letters and digits that follow from the id, for templates that take no other.
std::string short_id(std::string_view id) {
  std::uint64_t hash = 1469598103934665603u;  // FNV-1a.
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string made;
  for (int i = 0; i < 9; ++i, hash /= kLetters.size()) made.push_back(kLetters[hash % kLetters.size()]);
  return made;
}

// As Python's json.dumps writes it: what templates print and models were trained on.
std::string spaced(const Json& json) { return minja::Value(json).dump(-1, true); }

Json parse_or(std::string_view text, Json otherwise) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_discarded() ? otherwise : json;
}

Json json_of(const Tool& tool) {
  return {{"type", "function"},
          {"function", {{"name", tool.name}, {"description", tool.description}, {"parameters", parse_or(tool.input_schema, Json::object())}}}};
}

std::string lines_of(const std::vector<const Tool*>& tools) {
  std::string lines = "<tools>\n";
  for (const Tool* tool : tools) lines += spaced(json_of(*tool)) + "\n";
  return lines + "</tools>";
}

std::string tools_in_words(const std::vector<const Tool*>& tools, const ToolSyntax& syntax) {
  return "# Tools\n\nYou can call tools. Each line between <tools> and </tools> describes one of them as JSON:\n\n" + lines_of(tools) +
         "\n\nTo call a tool, write exactly this, with its name and its arguments, and nothing after it:\n\n" +
         syntax.write({{"name_of_the_tool", R"({"name_of_an_argument": "value"})"}}) +
         "\n\nIts result then comes between <tool_response> and </tool_response>. You may make several calls in one turn. When no tool is "
         "needed, answer in words.";
}

std::string text_of_result(const ToolResultContent& result, const std::vector<Tool>& tools, const std::vector<std::string>& marks) {
  std::string text = result.text;
  for (auto image = result.images.rbegin(); image != result.images.rend(); ++image) {
    const auto number = static_cast<std::size_t>(image->image);
    if (number < marks.size() && image->offset <= text.size()) text.insert(image->offset, marks[number]);
  }
  if (result.is_error && !text.starts_with("Error") && !text.starts_with("error")) text = "Error: " + text;
  std::vector<const Tool*> brought;
  for (const std::string& name : result.tool_references) {
    const auto tool = std::ranges::find(tools, name, &Tool::name);
    if (tool != tools.end()) brought.push_back(&*tool);
  }
  if (brought.empty()) return text;
  return text + (text.empty() ? "" : "\n\n") + "From now on you can also call these tools:\n" + lines_of(brought);
}

// A mark for each image that no text of the prompt has in it. It is the same for the same prompt, so that an answer
// is recognised.
std::vector<std::string> marks_for(const Prompt& prompt) {
  std::vector<std::string> marks;
  if (prompt.images.empty()) return marks;
  const auto stands_in = [&](std::string_view mark) {
    for (const Message& message : prompt.messages) {
      for (const Block& block : message.blocks) {
        const bool found = std::visit([&](const auto& content) {
          if constexpr (requires { content.text; }) return has(content.text, mark);
          else if constexpr (requires { content.input; }) return has(content.input, mark) || has(content.name, mark);
          else return false;
        }, block.content);
        if (found) return true;
      }
    }
    return std::ranges::any_of(prompt.tools, [&](const Tool& tool) { return has(tool.description, mark) || has(tool.input_schema, mark) || has(tool.name, mark); }) || has(prompt.json_schema, mark);
  };
  std::string stem = "[image ";
  for (int i = 1; stands_in(stem); ++i) stem = fmt::format("[image-{} ", i);  // Ends: a prompt has so many texts in it only.
  for (std::size_t i = 0; i < prompt.images.size(); ++i) marks.push_back(fmt::format("{}{}]", stem, i));
  return marks;
}

void append(Json& content, const std::string& text) {
  const std::string before = content.is_string() ? content.get<std::string>() : std::string();
  content = before.empty() || text.empty() ? before + text : before + "\n\n" + text;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string name;
  minja::chat_template jinja;
  const ToolSyntax* syntax;
  ThinkingMarks marks;
  ChatAbilities abilities;
  bool tools_in_system = false;  // Phi-4: the system message carries them.

  std::optional<std::string> attempt(const Json& messages, const Json& tools, bool generate, const Json& extra, std::string& problem) const {
    try {
      minja::chat_template_inputs inputs;
      inputs.messages = messages;
      if (!tools.empty()) inputs.tools = tools;
      inputs.add_generation_prompt = generate;
      inputs.extra_context = extra;
      // What concerns tools is done here; minja makes up for a missing system role and for typed content.
      minja::chat_template_options options;
      options.polyfill_tools = options.polyfill_tool_calls = options.polyfill_tool_responses = options.polyfill_object_arguments = false;
      return jinja.apply(inputs, options);
    } catch (const std::exception& thrown) {
      problem = thrown.what();
      return std::nullopt;
    }
  }

  std::string tried(const Json& messages) const {
    std::string ignored;
    return attempt(messages, {}, true, {}, ignored).value_or("");
  }

  void probe() {
    const minja::chat_template_caps caps = jinja.original_caps();
    const std::string& source = jinja.source();
    tools_in_system = has(source, "message['tools']") || has(source, "message.tools");
    const Json user = {{"role", "user"}, {"content", "u-needle"}};
    const Json answer = {{"role", "assistant"}, {"content", "a-needle"}};
    const auto call = [](const Json& arguments, const char* id) {
      return Json{{"role", "assistant"}, {"content", ""}, {"tool_calls", Json::array({{{"id", id}, {"type", "function"}, {"function", {{"name", "f"}, {"arguments", arguments}}}}})}};
    };
    const auto result = [](const char* id) { return Json{{"role", "tool"}, {"name", "f"}, {"tool_call_id", id}, {"content", "r-needle"}}; };

    const Json arguments = {{"k-needle", "v"}};
    const char* id = "toolu_0123";
    const auto shows = [&](const Json& form) {
      const std::string text = tried(Json::array({user, call(form, id), result(id)}));
      return has(text, "\"k-needle\":") || has(text, "k-needle>") || has(text, "k-needle:");
    };
    if (caps.supports_tool_calls && !shows(arguments) && !shows(arguments.dump())) {
      id = "abcdefghi";
      abilities.call_ids_short = shows(arguments) || shows(arguments.dump());
    }
    abilities.arguments_object = shows(arguments);
    const bool calls = abilities.arguments_object || shows(arguments.dump());
    abilities.tools = calls && caps.supports_tools;
    const Json form = abilities.arguments_object ? arguments : Json(arguments.dump());
    abilities.tool_results = has(tried(Json::array({user, call(form, id), result(id)})), "r-needle");
    abilities.user_after_tool = has(tried(Json::array({user, call(form, id), result(id), user})), "r-needle");

    const Json system = {{"role", "system"}, {"content", "s-needle"}};
    const std::string inside = tried(Json::array({user, system, answer, user}));
    const std::size_t at = inside.find("s-needle");
    abilities.system_inside = caps.supports_system_role && at != std::string::npos && inside.find("u-needle") < at && at < inside.find("a-needle");

    abilities.thinking_switch = has(source, "enable_thinking") || has(source, "thinking") || has(source, "reasoning_effort");
    if (has(source, "<think>") || has(source, "</think>")) marks = {"<think>", "</think>"};
    else if (has(source, "[THINK]")) marks = {"[THINK]", "[/THINK]"};
    else if (has(source, "<|channel>")) marks = {"<|channel>thought", "<channel|>"};
  }

  // Messages as templates know them: plain roles, results of tools as messages of their own.
  Json messages_of(const Prompt& prompt, std::size_t count, const std::vector<const Tool*>& shown, const std::vector<std::string>& image_marks) const {
    Json list = Json::array();
    std::map<std::string, std::string> names;  // Of the tools, by the call's id.
    const auto id_of = [&](const std::string& id) { return abilities.call_ids_short ? short_id(id) : id; };
    const auto add_words = [&](const std::string& text) {
      const std::string before = list.empty() ? "" : list.back().value("role", "");
      if (before == "user" || (before == "tool" && !abilities.user_after_tool)) append(list.back()["content"], text);
      else list.push_back({{"role", "user"}, {"content", text}});
    };
    std::string preface;
    if (!shown.empty() && !abilities.tools && !tools_in_system) preface = tools_in_words(shown, *syntax);
    if (!prompt.json_schema.empty()) {
      preface += (preface.empty() ? "" : "\n\n") + ("Answer with JSON only, and with nothing else. It must match this JSON Schema:\n" + prompt.json_schema);
    }
    if (!preface.empty() || (tools_in_system && !shown.empty())) list.push_back({{"role", "system"}, {"content", preface}});
    for (std::size_t i = 0; i < count; ++i) {
      const Message& message = prompt.messages[i];
      if (message.role == Role::system) {
        const std::string text = message.text();
        const std::string before = list.empty() ? "" : list.back().value("role", "");
        if (before == "system") append(list.back()["content"], text);
        else if (list.empty() || abilities.system_inside) list.push_back({{"role", "system"}, {"content", text}});
        else if (before == "tool") append(list.back()["content"], text);
        else add_words(text);
      } else if (message.role == Role::assistant) {
        add_answer(list, message, names, id_of);
      } else {
        std::string words;
        for (const Block& block : message.blocks) {
          if (const auto* text = std::get_if<TextContent>(&block.content); text != nullptr && !text->text.empty()) {
            words += (words.empty() ? "" : "\n\n") + text->text;
          } else if (const auto* image = std::get_if<ImageContent>(&block.content)) {
            const auto number = static_cast<std::size_t>(image->image);
            if (number < image_marks.size()) words += (words.empty() ? "" : "\n\n") + image_marks[number];
          } else if (const auto* result = std::get_if<ToolResultContent>(&block.content)) {
            if (!words.empty()) add_words(std::exchange(words, {}));
            add_result(list, *result, prompt.tools, image_marks, names, id_of, add_words);
          }
        }
        if (!words.empty() || message.blocks.empty()) add_words(words);
      }
    }
    if (tools_in_system && !shown.empty()) {
      Json tools = Json::array();
      for (const Tool* tool : shown) tools.push_back(json_of(*tool)["function"]);
      list[0]["tools"] = spaced(tools);
    }
    return list;
  }

  void add_answer(Json& list, const Message& message, std::map<std::string, std::string>& names, const auto& id_of) const {
    Json answer = {{"role", "assistant"}, {"content", message.text()}};
    std::string thoughts;
    Json calls = Json::array();
    std::vector<ParsedCall> written;
    for (const Block& block : message.blocks) {
      if (const auto* thinking = std::get_if<ThinkingContent>(&block.content); thinking != nullptr && !thinking->text.empty()) {
        thoughts += (thoughts.empty() ? "" : "\n\n") + thinking->text;
      } else if (const auto* call = std::get_if<ToolUseContent>(&block.content)) {
        names[call->id] = call->name;
        const Json input = parse_or(call->input, Json::object());
        const Json arguments = abilities.arguments_object ? input : Json(spaced(input));
        calls.push_back({{"type", "function"}, {"id", id_of(call->id)}, {"function", {{"name", call->name}, {"arguments", arguments}}}});
        written.push_back({call->name, spaced(input)});
      }
    }
    if (!thoughts.empty()) answer["reasoning_content"] = thoughts;
    if (!calls.empty() && abilities.tools) answer["tool_calls"] = calls;
    else if (!calls.empty()) {
      const std::string words = message.text();
      answer["content"] = words + (words.empty() ? "" : "\n") + syntax->write(written);
    }
    list.push_back(std::move(answer));
  }

  void add_result(Json& list, const ToolResultContent& result, const std::vector<Tool>& tools, const std::vector<std::string>& image_marks, const std::map<std::string, std::string>& names,
                  const auto& id_of, const auto& add_words) const {
    const std::string text = text_of_result(result, tools, image_marks);
    const auto known = names.find(result.tool_use_id);
    if (!abilities.tools || !abilities.tool_results) return add_words("<tool_response>\n" + text + "\n</tool_response>");
    list.push_back({{"role", "tool"}, {"name", known == names.end() ? "" : known->second}, {"tool_call_id", id_of(result.tool_use_id)}, {"content", text}});
  }
};

ChatTemplate::ChatTemplate(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::make(std::string_view choice, const std::string& from_model, const Vocabulary& vocabulary, std::string_view tool_syntax) {
  std::string name = "model";
  std::string source = from_model;
  if (choice.empty() && from_model.empty()) choice = "chatml";
  if (!choice.empty()) {
    name = "custom";
    source = choice;
    for (const Builtin& builtin : kBuiltins) {
      if (builtin.name == choice) {
        name = builtin.name;
        source = builtin.source;
      }
    }
    if (name == "custom" && source.find('{') == std::string::npos) {
      return Error{ErrorCode::invalid_argument, fmt::format("--chat-template: '{}' is neither chatml, phi3, llama3 or plain nor Jinja source", choice)};
    }
  }
  const ToolSyntax* syntax = tool_syntax.empty() ? &tool_syntax_of_template(source) : find_tool_syntax(tool_syntax);
  if (syntax == nullptr) {
    std::string names;
    for (const ToolSyntax* known : all_tool_syntaxes()) names += (names.empty() ? "" : ", ") + std::string(known->name());
    return Error{ErrorCode::invalid_argument, fmt::format("--tool-syntax: '{}' is none of {}", tool_syntax, names)};
  }
  try {
    auto parsed = std::make_unique<Parsed>(
        name, minja::chat_template(source, vocabulary.control_text(vocabulary.begin_token()), vocabulary.control_text(vocabulary.end_token())), syntax);
    parsed->probe();
    return ChatTemplate(std::move(parsed));
  } catch (const std::exception& problem) {
    return Error{ErrorCode::invalid_argument, fmt::format("the chat template ({}) does not parse: {}", name, problem.what())};
  }
}

Result<RenderedPrompt> ChatTemplate::render(const Prompt& prompt) const {
  const Parsed& parsed = *parsed_;
  const ToolChoice::Kind choice = prompt.tool_choice.kind;
  std::vector<const Tool*> shown;
  if (choice != ToolChoice::Kind::none) {
    for (const Tool& tool : prompt.tools) {
      if (!tool.deferred) shown.push_back(&tool);
    }
  }
  const bool prefill = !prompt.messages.empty() && prompt.messages.back().role == Role::assistant;
  const bool must_call = !prefill && !prompt.tools.empty() && (choice == ToolChoice::Kind::any || choice == ToolChoice::Kind::tool);

  Json extra = Json::object();
  const ThinkingSettings& thinking = prompt.thinking;
  const bool wants_thinking = thinking.kind == ThinkingSettings::Kind::on && !prefill && !must_call;
  if (thinking.kind != ThinkingSettings::Kind::adaptive || prefill || must_call) extra["enable_thinking"] = extra["thinking"] = wants_thinking;
  const std::string& effort = thinking.effort;
  if (!effort.empty()) extra["reasoning_effort"] = effort == "low" || effort == "medium" ? effort : "high";
  else if (thinking.kind == ThinkingSettings::Kind::off) extra["reasoning_effort"] = "low";
  // What was thought before stays in the prompt, where a template can be asked for it: prefixes hold.
  extra["preserve_thinking"] = true;
  extra["clear_thinking"] = false;

  Json tools = Json::array();
  if (parsed.abilities.tools) {
    for (const Tool* tool : shown) tools.push_back(json_of(*tool));
  }
  std::vector<std::string> image_marks = marks_for(prompt);
  const Json messages = parsed.messages_of(prompt, prompt.messages.size() - (prefill ? 1 : 0), shown, image_marks);
  std::string problem;
  auto text = parsed.attempt(messages, tools, true, extra, problem);
  if (!text) return Error{ErrorCode::invalid_argument, fmt::format("messages: the model's chat template refuses them: {}", problem)};

  RenderedPrompt rendered{*std::move(text), {}, std::move(image_marks)};
  const ThinkingMarks& marks = parsed.marks;
  std::string_view trimmed = rendered.text;
  while (!trimmed.empty() && std::isspace(static_cast<unsigned char>(trimmed.back())) != 0) trimmed.remove_suffix(1);
  const bool opened = !marks.open.empty() && trimmed.ends_with(marks.open);
  if (opened && (prefill || must_call)) rendered.text += marks.close + "\n\n";
  else if (opened) rendered.opening = rendered.text.substr(trimmed.size() - marks.open.size());
  if (prefill) {
    if (parsed.syntax == &harmony_syntax()) rendered.text += rendered.opening = "<|channel|>final<|message|>";
    rendered.text += prompt.messages.back().text();
  } else if (must_call) {
    rendered.opening = parsed.syntax->head(choice == ToolChoice::Kind::tool ? prompt.tool_choice.name : std::string());
    rendered.text += rendered.opening;
  }
  return rendered;
}

const std::string& ChatTemplate::name() const { return parsed_->name; }
const ToolSyntax& ChatTemplate::tool_syntax() const { return *parsed_->syntax; }
const ThinkingMarks& ChatTemplate::thinking_marks() const { return parsed_->marks; }
const ChatAbilities& ChatTemplate::abilities() const { return parsed_->abilities; }

}  // namespace pensieve
