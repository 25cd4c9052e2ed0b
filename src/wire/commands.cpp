// Down to the worker: frames.h, Command.
#include <fmt/format.h>

#include "base/base64.h"
#include "wire/frame_line.h"

namespace pensieve::wire {
namespace {

std::optional<Role> role_of(const std::string& name) {
  if (name == "system") return Role::system;
  if (name == "user") return Role::user;
  if (name == "assistant") return Role::assistant;
  return std::nullopt;
}

const char* name_of(Role role) {
  switch (role) {
    case Role::system: return "system";
    case Role::user: return "user";
    case Role::assistant: return "assistant";
  }
  return "";
}

constexpr std::pair<const char*, ToolChoice::Kind> kToolChoices[] = {
    {"auto", ToolChoice::Kind::automatic},
    {"any", ToolChoice::Kind::any},
    {"tool", ToolChoice::Kind::tool},
    {"none", ToolChoice::Kind::none},
};
constexpr std::pair<const char*, ThinkingSettings::Kind> kThinkingKinds[] = {
    {"unset", ThinkingSettings::Kind::unset},
    {"off", ThinkingSettings::Kind::off},
    {"on", ThinkingSettings::Kind::on},
    {"adaptive", ThinkingSettings::Kind::adaptive},
};

ToolResultContent read_tool_result(Reader& reader) {
  ToolResultContent result{reader.text("tool_use_id", true), reader.text("content"), reader.boolean("is_error"), reader.texts("tool_references")};
  const Json* images = reader.find("images");
  if (images == nullptr) return result;
  if (!images->is_array()) reader.fail("images", "an array");
  for (const Json& image : *images) {
    const bool pair = image.is_array() && image.size() == 2;
    const auto offset = pair ? Reader::as_integer<std::uint32_t>(image[0]) : std::nullopt;
    const auto number = pair ? Reader::as_integer<std::int32_t>(image[1]) : std::nullopt;
    if (!offset || !number || *offset > result.text.size()) {
      reader.fail("images", "pairs of a place in the content and an image's number");
      break;
    }
    result.images.push_back({*offset, *number});
  }
  return result;
}

std::optional<Block> read_block(Reader& reader) {
  Block block;
  block.cache_mark = reader.boolean("cache");
  const std::string type = reader.text("type", true);
  if (type == "text") block.content = TextContent{reader.text("text", true)};
  else if (type == "thinking") block.content = ThinkingContent{reader.text("thinking", true), reader.text("signature")};
  else if (type == "tool_use") block.content = ToolUseContent{reader.text("id", true), reader.text("name", true), reader.text("input", true)};
  else if (type == "tool_result") {
    block.content = read_tool_result(reader);
  } else if (type == "image") {
    block.content = ImageContent{reader.integer<std::int32_t>("image", true).value_or(0)};
  } else {
    reader.fail("type", "text, thinking, tool_use, tool_result or image");
  }
  return reader.failed() ? std::nullopt : std::optional(std::move(block));
}

std::optional<Message> read_message(const Json& element, const std::string& at, Reader& complain) {
  if (!element.is_object()) {
    complain.fail(at, "an object");
    return std::nullopt;
  }
  Reader reader(element);
  Message message;
  const auto role = role_of(reader.text("role", true));
  if (!role) {
    complain.fail(at + ".role", "system, user or assistant");
    return std::nullopt;
  }
  message.role = *role;
  const Json* content = reader.find("content");
  if (content != nullptr && content->is_string()) {
    message.blocks.push_back(Block{TextContent{content->get<std::string>()}});
    return message;
  }
  if (content == nullptr || !content->is_array()) {
    complain.fail(at, "content as a string or an array of blocks");
    return std::nullopt;
  }
  for (std::size_t i = 0; i < content->size(); ++i) {
    const std::string block_at = fmt::format("{}.content.{}", at, i);
    if (!(*content)[i].is_object()) {
      complain.fail(block_at, "an object");
      return std::nullopt;
    }
    Reader fields((*content)[i]);
    auto block = read_block(fields);
    if (!block) {
      complain.fail(block_at, fields.take_error().message);
      return std::nullopt;
    }
    message.blocks.push_back(*std::move(block));
  }
  return message;
}

std::vector<Tool> read_tools(Reader& reader) {
  std::vector<Tool> tools;
  const Json* list = reader.find("tools");
  if (list == nullptr) return tools;
  if (!list->is_array()) {
    reader.fail("tools", "an array");
    return tools;
  }
  for (std::size_t i = 0; i < list->size(); ++i) {
    const std::string at = fmt::format("tools.{}", i);
    if (!(*list)[i].is_object()) {
      reader.fail(at, "an object");
      return tools;
    }
    Reader fields((*list)[i]);
    tools.push_back({fields.text("name", true), fields.text("description"), fields.text("input_schema", true), fields.boolean("strict"), fields.boolean("deferred"), fields.boolean("cache")});
    if (fields.failed()) reader.fail(at, fields.take_error().message);
  }
  return tools;
}

ToolChoice read_tool_choice(Reader& reader) {
  ToolChoice choice;
  const std::string kind = reader.text("tool_choice");
  const auto known = meant<ToolChoice::Kind>(kToolChoices, kind);
  if (!kind.empty() && !known) reader.fail("tool_choice", "auto, any, tool or none");
  choice.kind = known.value_or(ToolChoice::Kind::automatic);
  choice.name = reader.text("tool_choice_name");
  choice.one_at_most = reader.boolean("one_call_at_most");
  return choice;
}

ThinkingSettings read_thinking(Reader& reader) {
  ThinkingSettings thinking;
  const std::string kind = reader.text("thinking");
  const auto known = meant<ThinkingSettings::Kind>(kThinkingKinds, kind);
  if (!kind.empty() && !known) reader.fail("thinking", "unset, off, on or adaptive");
  thinking.kind = known.value_or(ThinkingSettings::Kind::unset);
  thinking.budget_tokens = reader.integer<std::int32_t>("thinking_budget_tokens");
  thinking.effort = reader.text("effort");
  return thinking;
}

Prompt read_prompt(Reader& reader) {
  Prompt prompt;
  prompt.tokens = reader.tokens("tokens");
  prompt.text = reader.text("text");
  prompt.tools = read_tools(reader);
  prompt.tool_choice = read_tool_choice(reader);
  prompt.thinking = read_thinking(reader);
  prompt.json_schema = reader.text("json_schema");
  prompt.inputs = reader.inputs("inputs");
  for (const std::string& image : reader.texts("images")) {
    auto bytes = base64_decode(image);
    if (!bytes) reader.fail("images", "an array of base64");
    prompt.images.push_back(std::move(bytes).value_or(""));
  }
  const Json* messages = reader.find("messages");
  if (messages == nullptr) {
    if (prompt.tokens.empty() && prompt.text.empty() && prompt.inputs.empty()) reader.fail("messages", "an array of messages, or text, or tokens");
    return prompt;
  }
  if (!messages->is_array()) {
    reader.fail("messages", "an array");
    return prompt;
  }
  for (std::size_t i = 0; i < messages->size(); ++i) {
    auto message = read_message((*messages)[i], fmt::format("messages.{}", i), reader);
    if (!message) return prompt;
    prompt.messages.push_back(*std::move(message));
  }
  if (prompt.messages.empty() && prompt.tokens.empty() && prompt.text.empty() && prompt.inputs.empty()) reader.fail("messages", "at least one message");
  return prompt;
}

Sampling read_sampling(Reader& reader) {
  Sampling sampling;
  sampling.temperature = reader.number("temperature");
  sampling.top_k = reader.integer<std::int32_t>("top_k");
  sampling.top_p = reader.number("top_p");
  sampling.min_p = reader.number("min_p");
  sampling.repeat_penalty = reader.number("repeat_penalty");
  sampling.presence_penalty = reader.number("presence_penalty");
  sampling.frequency_penalty = reader.number("frequency_penalty");
  sampling.seed = reader.integer<std::uint64_t>("seed");
  return sampling;
}

GenerateRequest read_generate(Reader& reader) {
  GenerateRequest request;
  request.id = reader.id();
  request.prompt = read_prompt(reader);
  request.sampling = read_sampling(reader);
  request.max_tokens = reader.integer<std::int32_t>("max_tokens", true).value_or(0);
  if (request.max_tokens < 0) reader.fail("max_tokens", "an integer of at least 0");
  request.opening = reader.text("opening");
  request.origin = reader.text("origin");
  request.said = reader.tokens("said");
  request.events_to_skip = reader.integer<std::int32_t>("events_to_skip").value_or(0);
  request.hash_logits = reader.boolean("hash_logits");
  request.marks = reader.tokens("marks");
  request.keep_seconds = reader.integer<std::int32_t>("keep_seconds").value_or(0);
  if (const Json* stops = reader.find("stop_sequences"); stops != nullptr) {
    if (!stops->is_array()) {
      reader.fail("stop_sequences", "an array of strings");
    } else {
      for (const Json& stop : *stops) {
        if (!stop.is_string() || stop.get_ref<const std::string&>().empty()) {
          reader.fail("stop_sequences", "an array of non-empty strings");
          break;
        }
        request.stop_sequences.push_back(stop.get<std::string>());
      }
    }
  }
  return request;
}

EmbedRequest read_embed(Reader& reader) {
  EmbedRequest request{reader.id(), reader.inputs("inputs"), reader.integer<std::int32_t>("done").value_or(0)};
  if (request.inputs.empty()) reader.fail("inputs", "at least one");
  if (request.done < 0 || request.done > std::ssize(request.inputs)) reader.fail("done", "a number of inputs");
  return request;
}

Json json_of(const Block& block) {
  Json object;
  if (const auto* text = std::get_if<TextContent>(&block.content)) {
    object = {{"type", "text"}, {"text", text->text}};
  } else if (const auto* thinking = std::get_if<ThinkingContent>(&block.content)) {
    object = {{"type", "thinking"}, {"thinking", thinking->text}};
    if (!thinking->signature.empty()) object["signature"] = thinking->signature;
  } else if (const auto* call = std::get_if<ToolUseContent>(&block.content)) {
    object = {{"type", "tool_use"}, {"id", call->id}, {"name", call->name}, {"input", call->input}};
  } else if (const auto* result = std::get_if<ToolResultContent>(&block.content)) {
    object = {{"type", "tool_result"}, {"tool_use_id", result->tool_use_id}, {"content", result->text}};
    if (result->is_error) object["is_error"] = true;
    if (!result->tool_references.empty()) object["tool_references"] = result->tool_references;
    for (const ToolResultContent::Image& image : result->images) object["images"].push_back({image.offset, image.image});
  } else if (const auto* image = std::get_if<ImageContent>(&block.content)) {
    object = {{"type", "image"}, {"image", image->image}};
  }
  if (block.cache_mark) object["cache"] = true;
  return object;
}

Json json_of(const Message& message) {
  Json object = {{"role", name_of(message.role)}};
  const bool plain = message.blocks.size() == 1 && !message.blocks[0].cache_mark && std::holds_alternative<TextContent>(message.blocks[0].content);
  if (plain) {
    object["content"] = std::get<TextContent>(message.blocks[0].content).text;
    return object;
  }
  Json& blocks = object["content"] = Json::array();
  for (const Block& block : message.blocks) blocks.push_back(json_of(block));
  return object;
}

void put_prompt(Json& object, const Prompt& prompt) {
  if (!prompt.tokens.empty()) object["tokens"] = prompt.tokens;
  if (!prompt.messages.empty()) {
    Json& messages = object["messages"] = Json::array();
    for (const Message& message : prompt.messages) messages.push_back(json_of(message));
  }
  if (!prompt.tools.empty()) {
    Json& tools = object["tools"] = Json::array();
    for (const Tool& tool : prompt.tools) {
      Json one = {{"name", tool.name}, {"description", tool.description}, {"input_schema", tool.input_schema}};
      if (tool.strict) one["strict"] = true;
      if (tool.deferred) one["deferred"] = true;
      if (tool.cache_mark) one["cache"] = true;
      tools.push_back(std::move(one));
    }
  }
  if (prompt.tool_choice != ToolChoice{}) {
    object["tool_choice"] = spelled(kToolChoices, prompt.tool_choice.kind);
    if (!prompt.tool_choice.name.empty()) object["tool_choice_name"] = prompt.tool_choice.name;
    if (prompt.tool_choice.one_at_most) object["one_call_at_most"] = true;
  }
  if (prompt.thinking != ThinkingSettings{}) {
    object["thinking"] = spelled(kThinkingKinds, prompt.thinking.kind);
    if (prompt.thinking.budget_tokens) object["thinking_budget_tokens"] = *prompt.thinking.budget_tokens;
    if (!prompt.thinking.effort.empty()) object["effort"] = prompt.thinking.effort;
  }
  if (!prompt.text.empty()) object["text"] = prompt.text;
  if (!prompt.json_schema.empty()) object["json_schema"] = prompt.json_schema;
  for (const EmbedInput& input : prompt.inputs) object["inputs"].push_back(wire::json_of(input));
  for (const std::string& image : prompt.images) object["images"].push_back(base64_encode(image));
}

template <typename T>
void put(Json& object, const char* field, const std::optional<T>& value) {
  if (value) object[field] = *value;
}

}  // namespace

std::string encode(const Command& command) {
  Json object;
  std::visit(Overloaded{
                 [&](const Count& count) {
                   object = {{"cmd", "count"}, {"id", number_of(count.id)}};
                   if (count.wants_tokens) object["wants_tokens"] = true;
                   put_prompt(object, count.prompt);
                 },
                 [&](const Generate& generate) {
                   const GenerateRequest& request = generate.request;
                   object = {{"cmd", "generate"}, {"id", number_of(request.id)}, {"max_tokens", request.max_tokens}};
                   put_prompt(object, request.prompt);
                   put(object, "temperature", request.sampling.temperature);
                   put(object, "top_k", request.sampling.top_k);
                   put(object, "top_p", request.sampling.top_p);
                   put(object, "min_p", request.sampling.min_p);
                   put(object, "repeat_penalty", request.sampling.repeat_penalty);
                   put(object, "presence_penalty", request.sampling.presence_penalty);
                   put(object, "frequency_penalty", request.sampling.frequency_penalty);
                   put(object, "seed", request.sampling.seed);
                   if (!request.stop_sequences.empty()) object["stop_sequences"] = request.stop_sequences;
                   if (!request.opening.empty()) object["opening"] = request.opening;
                   if (!request.origin.empty()) object["origin"] = request.origin;
                   if (!request.said.empty()) object["said"] = request.said;
                   if (request.events_to_skip != 0) object["events_to_skip"] = request.events_to_skip;
                   if (request.hash_logits) object["hash_logits"] = true;
                   if (!request.marks.empty()) object["marks"] = request.marks;
                   if (request.keep_seconds != 0) object["keep_seconds"] = request.keep_seconds;
                 },
                 [&](const Embed& embed) {
                   object = {{"cmd", "embed"}, {"id", number_of(embed.request.id)}};
                   for (const EmbedInput& input : embed.request.inputs) object["inputs"].push_back(wire::json_of(input));
                   if (embed.request.done != 0) object["done"] = embed.request.done;
                 },
                 [&](const Cancel& cancel) { object = {{"cmd", "cancel"}, {"id", number_of(cancel.id)}}; },
                 [&](const Pause& pause) { object = {{"cmd", "pause"}, {"id", number_of(pause.id)}}; },
                 [&](const Resume& resume) { object = {{"cmd", "resume"}, {"id", number_of(resume.id)}}; },
                 [&](const Health&) { object = {{"cmd", "health"}}; },
                 [&](const Memory& memory) { object = {{"cmd", "memory"}, {"level", memory.level}}; },
                 [&](const Shutdown&) { object = {{"cmd", "shutdown"}}; },
             },
             command);
  return line_of(object);
}

Result<Command> parse_command(std::string_view line) {
  const Result<Json> object = parse_object(line);
  if (!object) return object.error();
  Reader reader(*object);
  const std::string name = reader.text("cmd", true);
  Command command = Health{};
  if (name == "count") command = Count{reader.id(), read_prompt(reader), reader.boolean("wants_tokens")};
  else if (name == "generate") command = Generate{read_generate(reader)};
  else if (name == "embed") command = Embed{read_embed(reader)};
  else if (name == "cancel") command = Cancel{reader.id()};
  else if (name == "pause") command = Pause{reader.id()};
  else if (name == "resume") command = Resume{reader.id()};
  else if (name == "health") command = Health{};
  else if (name == "memory") command = Memory{reader.text("level", true)};
  else if (name == "shutdown") command = Shutdown{};
  else reader.fail("cmd", "one of count, generate, embed, cancel, pause, resume, health, memory, shutdown");
  if (reader.failed()) return reader.take_error();
  return command;
}

}  // namespace pensieve::wire
