#include "chat/chat_template.h"

#include <fmt/format.h>

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

const char* name_of(Role role) {
  switch (role) {
    case Role::system: return "system";
    case Role::user: return "user";
    case Role::assistant: return "assistant";
  }
  return "";
}

// Strict templates take a system message only at the top. Those further down
// become part of the nearest user message; none is moved across an answer.
std::vector<Message> with_system_folded(const std::vector<Message>& messages) {
  std::vector<Message> folded;
  for (const Message& message : messages) {
    const bool inner_system = message.role == Role::system && !folded.empty();
    const Role role = inner_system ? Role::user : message.role;
    if (role == Role::user && !folded.empty() && folded.back().role == Role::user) folded.back() = {Role::user, folded.back().text() + "\n\n" + message.text()};
    else folded.push_back({role, message.text()});
  }
  return folded;
}

nlohmann::ordered_json json_of(const std::vector<Message>& messages) {
  auto array = nlohmann::ordered_json::array();
  for (const Message& message : messages) array.push_back({{"role", name_of(message.role)}, {"content", message.text()}});
  return array;
}

}  // namespace

struct ChatTemplate::Parsed {
  std::string name;
  minja::chat_template jinja;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Parsed> parsed) : parsed_(std::move(parsed)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::make(std::string_view choice, const std::string& from_model, const Vocabulary& vocabulary) {
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
  try {
    return ChatTemplate(std::make_unique<Parsed>(
        name, minja::chat_template(source, vocabulary.control_text(vocabulary.begin_token()), vocabulary.control_text(vocabulary.end_token()))));
  } catch (const std::exception& problem) {
    return Error{ErrorCode::invalid_argument, fmt::format("the chat template ({}) does not parse: {}", name, problem.what())};
  }
}

Result<std::string> ChatTemplate::render(const std::vector<Message>& messages) const {
  const auto attempt = [&](const std::vector<Message>& candidate) -> Result<std::string> {
    try {
      minja::chat_template_inputs inputs;
      inputs.messages = json_of(candidate);
      inputs.add_generation_prompt = true;
      return parsed_->jinja.apply(inputs);
    } catch (const std::exception& problem) {
      return Error{ErrorCode::invalid_argument, fmt::format("messages: the model's chat template refuses them: {}", problem.what())};
    }
  };
  Result<std::string> text = attempt(messages);
  if (text) return text;
  const std::vector<Message> folded = with_system_folded(messages);
  if (folded == messages) return text;
  return attempt(folded);
}

const std::string& ChatTemplate::name() const { return parsed_->name; }

}  // namespace pensieve
