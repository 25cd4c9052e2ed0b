#include "wire/frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>


namespace pensieve::wire {
namespace {

using Json = nlohmann::json;

// ---- reading ----

// Reads fields out of one object and keeps the first complaint, so that a parser
// reads as a list of its fields.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  bool failed() const { return error_.has_value(); }
  Error take_error() { return *std::move(error_); }
  void fail(std::string_view field, std::string_view expected) {
    if (!error_) error_ = Error{ErrorCode::invalid_argument, fmt::format("{}: expected {}", field, expected)};
  }

  const Json* find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string text(const char* field, bool required = false) {
    const Json* value = find(field);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    if (value != nullptr || required) fail(field, "a string");
    return {};
  }

  std::vector<std::string> texts(const char* field) {
    std::vector<std::string> list;
    const Json* value = find(field);
    if (value == nullptr) return list;
    if (!value->is_array()) {
      fail(field, "an array of strings");
      return list;
    }
    for (const Json& element : *value) {
      if (element.is_string()) list.push_back(element.get<std::string>());
      else fail(field, "an array of strings");
    }
    return list;
  }

  bool boolean(const char* field) {
    const Json* value = find(field);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(field, "true or false");
    return value->is_boolean() && value->get<bool>();
  }

  template <typename Int>
  std::optional<Int> integer(const char* field, bool required = false) {
    const Json* value = find(field);
    if (value == nullptr) {
      if (required) fail(field, "an integer");
      return std::nullopt;
    }
    const auto number = as_integer<Int>(*value);
    if (!number) fail(field, fmt::format("an integer from {} to {}", std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max()));
    return number;
  }

  std::optional<float> number(const char* field) {
    const Json* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) {
      fail(field, "a number");
      return std::nullopt;
    }
    return value->get<float>();
  }

  std::int64_t sampled_us() { return integer<std::int64_t>("sampled_us").value_or(0); }
  RequestId id() { return RequestId{integer<std::uint64_t>("id", true).value_or(0)}; }

  std::vector<TokenId> tokens(const char* field) {
    std::vector<TokenId> ids;
    const Json* value = find(field);
    if (value == nullptr) return ids;
    if (!value->is_array()) {
      fail(field, "an array of token ids");
      return ids;
    }
    ids.reserve(value->size());
    for (const Json& element : *value) {
      const auto token = as_integer<TokenId>(element);
      if (!token) {
        fail(field, "an array of token ids");
        return {};
      }
      ids.push_back(*token);
    }
    return ids;
  }

  template <typename Int>
  static std::optional<Int> as_integer(const Json& value) {
    if (value.is_number_unsigned()) {
      const auto number = value.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<Int>::max())) return std::nullopt;
      return static_cast<Int>(number);
    }
    if (!value.is_number_integer()) return std::nullopt;
    const auto number = value.get<std::int64_t>();
    if constexpr (std::is_unsigned_v<Int>) return std::nullopt;  // Negative, or it had been unsigned above.
    else if (number < std::numeric_limits<Int>::min()) return std::nullopt;
    return static_cast<Int>(number);
  }

 private:
  const Json& object_;
  std::optional<Error> error_;
};

Result<Json> parse_object(std::string_view line) {
  if (line.size() > kLineBytesMax) return Error{ErrorCode::too_large, fmt::format("the line has {} bytes; at most {} are read", line.size(), kLineBytesMax)};
  Json object = Json::parse(line, nullptr, false);
  if (object.is_discarded()) return Error{ErrorCode::invalid_argument, "the line is not JSON"};
  if (!object.is_object()) return Error{ErrorCode::invalid_argument, "the line is not a JSON object"};
  return object;
}

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

template <typename Table, typename Value>
const char* spelled(const Table& table, Value value) {
  for (const auto& [name, entry] : table) {
    if (entry == value) return name;
  }
  return "";
}

template <typename Value, typename Table>
std::optional<Value> meant(const Table& table, const std::string& text) {
  for (const auto& [name, entry] : table) {
    if (text == name) return entry;
  }
  return std::nullopt;
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

std::optional<Block> read_block(Reader& reader) {
  Block block;
  block.cache_mark = reader.boolean("cache");
  const std::string type = reader.text("type", true);
  if (type == "text") block.content = TextContent{reader.text("text", true)};
  else if (type == "thinking") block.content = ThinkingContent{reader.text("thinking", true), reader.text("signature")};
  else if (type == "tool_use") block.content = ToolUseContent{reader.text("id", true), reader.text("name", true), reader.text("input", true)};
  else if (type == "tool_result") {
    block.content = ToolResultContent{reader.text("tool_use_id", true), reader.text("content"), reader.boolean("is_error"), reader.texts("tool_references")};
  } else {
    reader.fail("type", "text, thinking, tool_use or tool_result");
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
    tools.push_back({fields.text("name", true), fields.text("description"), fields.text("input_schema", true), fields.boolean("strict"), fields.boolean("deferred")});
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
  const Json* messages = reader.find("messages");
  if (messages == nullptr) {
    if (prompt.tokens.empty() && prompt.text.empty()) reader.fail("messages", "an array of messages, or text, or tokens");
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
  if (prompt.messages.empty() && prompt.tokens.empty() && prompt.text.empty()) reader.fail("messages", "at least one message");
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

constexpr std::pair<const char*, FinishReason> kFinishReasons[] = {
    {"end_turn", FinishReason::end_turn},
    {"max_tokens", FinishReason::max_tokens},
    {"stop_sequence", FinishReason::stop_sequence},
    {"tool_use", FinishReason::tool_use},
    {"model_context_window_exceeded", FinishReason::model_context_window_exceeded},
    {"cancelled", FinishReason::cancelled},
};
constexpr std::pair<const char*, ErrorCode> kErrorCodes[] = {
    {"invalid_argument", ErrorCode::invalid_argument}, {"not_found", ErrorCode::not_found},
    {"permission_denied", ErrorCode::permission_denied}, {"too_large", ErrorCode::too_large},
    {"overloaded", ErrorCode::overloaded}, {"unavailable", ErrorCode::unavailable},
    {"timeout", ErrorCode::timeout}, {"cancelled", ErrorCode::cancelled},
    {"corrupt", ErrorCode::corrupt}, {"internal", ErrorCode::internal},
};

Error read_error(Reader& reader) {
  const auto code = meant<ErrorCode>(kErrorCodes, reader.text("code", true));
  if (!code) reader.fail("code", "a known error code");
  return {code.value_or(ErrorCode::internal), reader.text("message", true)};
}

StreamEvent read_finish(Reader& reader) {
  Finished finished;
  const auto reason = meant<FinishReason>(kFinishReasons, reader.text("reason", true));
  if (!reason) reader.fail("reason", "a known finish reason");
  finished.reason = reason.value_or(FinishReason::end_turn);
  finished.stop_sequence = reader.text("stop_sequence");
  finished.violation = reader.text("violation");
  finished.usage.input_tokens = reader.integer<std::int32_t>("input_tokens").value_or(0);
  finished.usage.cached_tokens = reader.integer<std::int32_t>("cached_tokens").value_or(0);
  finished.usage.kept_tokens = reader.integer<std::int32_t>("kept_tokens").value_or(0);
  finished.usage.output_tokens = reader.integer<std::int32_t>("output_tokens").value_or(0);
  finished.tokens = reader.tokens("tokens");
  finished.prefill_us = reader.integer<std::int64_t>("prefill_us").value_or(0);
  finished.decode_us = reader.integer<std::int64_t>("decode_us").value_or(0);
  return finished;
}

constexpr std::pair<const char*, std::uint64_t KvFacts::*> kKvNumbers[] = {
    {"tokens_from_slots", &KvFacts::tokens_from_slots},
    {"tokens_from_store", &KvFacts::tokens_from_store},
    {"store_blocks", &KvFacts::store_blocks},
    {"store_bytes", &KvFacts::store_bytes},
    {"store_blocks_written", &KvFacts::store_blocks_written},
    {"store_blocks_read", &KvFacts::store_blocks_read},
    {"store_blocks_evicted", &KvFacts::store_blocks_evicted},
    {"store_blocks_set_aside", &KvFacts::store_blocks_set_aside},
    {"store_bytes_written_today", &KvFacts::store_bytes_written_today},
    {"answers_recognised", &KvFacts::answers_recognised},
    {"store_pending", &KvFacts::store_pending},
    {"bytes_given_back", &KvFacts::bytes_given_back},
};

KvFacts read_kv_facts(Reader& reader) {
  KvFacts facts;
  const Json* object = reader.find("kv");
  if (object == nullptr || !object->is_object()) return facts;
  Reader kv(*object);
  for (const auto& [name, member] : kKvNumbers) facts.*member = kv.integer<std::uint64_t>(name).value_or(0);
  facts.store_problem = kv.text("store_problem");
  if (kv.failed()) reader.fail("kv", kv.take_error().message);
  return facts;
}

Pace read_pace(Reader& reader) {
  Pace pace;
  const Json* object = reader.find("pace");
  if (object == nullptr || !object->is_object()) return pace;
  Reader from(*object);
  pace.alone_tokens_per_second = std::max(0.0, static_cast<double>(from.number("alone_tokens_per_second").value_or(0)));
  pace.beside_tokens_per_second = std::max(0.0, static_cast<double>(from.number("beside_tokens_per_second").value_or(0)));
  pace.beside_chunk = from.integer<std::int32_t>("beside_chunk").value_or(0);
  if (const Json* steps = from.find("step_seconds"); steps != nullptr && steps->is_array()) {
    for (const Json& one : *steps) pace.step_seconds.push_back(one.is_number() ? std::max(0.0, one.get<double>()) : 0);
  }
  if (from.failed()) reader.fail("pace", from.take_error().message);
  return pace;
}

Ready read_ready(Reader& reader) {
  Ready ready;
  ready.slots = reader.integer<std::int32_t>("slots", true).value_or(0);
  ready.context_tokens = reader.integer<std::int32_t>("context_tokens", true).value_or(0);
  ready.kv_bytes = reader.integer<std::uint64_t>("kv_bytes").value_or(0);
  ready.backends = reader.text("backends");
  ready.chat_template = reader.text("chat_template");
  ready.tool_syntax = reader.text("tool_syntax");
  ready.thinks = reader.boolean("thinks");
  ready.exact = reader.boolean("exact");
  ready.store = reader.text("store");
  ready.store_problem = reader.text("store_problem");
  const Json* model = reader.find("model");
  if (model == nullptr || !model->is_object()) {
    reader.fail("model", "an object");
    return ready;
  }
  Reader facts(*model);
  ready.model.name = facts.text("name", true);
  ready.model.architecture = facts.text("architecture");
  ready.model.parameters = facts.integer<std::uint64_t>("parameters").value_or(0);
  ready.model.file_bytes = facts.integer<std::uint64_t>("file_bytes").value_or(0);
  ready.model.context_trained = facts.integer<std::int32_t>("context_trained").value_or(0);
  ready.model.vocabulary = facts.integer<std::int32_t>("vocabulary").value_or(0);
  if (facts.failed()) reader.fail("model", facts.take_error().message);
  return ready;
}

// ---- writing ----

std::string line_of(const Json& object) {
  // replace: the model may sample bytes that are no UTF-8; the wire stays valid.
  std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace);
  line.push_back('\n');
  return line;
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
}

template <typename T>
void put(Json& object, const char* field, const std::optional<T>& value) {
  if (value) object[field] = *value;
}

Json json_of(const Error& error) { return {{"code", spelled(kErrorCodes, error.code)}, {"message", error.message}}; }

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

std::uint64_t number_of(RequestId id) { return static_cast<std::uint64_t>(id); }

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
                   if (request.keep_seconds != 0) object["keep_seconds"] = request.keep_seconds;
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
  else if (name == "cancel") command = Cancel{reader.id()};
  else if (name == "pause") command = Pause{reader.id()};
  else if (name == "resume") command = Resume{reader.id()};
  else if (name == "health") command = Health{};
  else if (name == "memory") command = Memory{reader.text("level", true)};
  else if (name == "shutdown") command = Shutdown{};
  else reader.fail("cmd", "one of count, generate, cancel, pause, resume, health, memory, shutdown");
  if (reader.failed()) return reader.take_error();
  return command;
}

std::string encode(const Report& report) {
  Json object;
  const auto event_object = [&](const char* name, RequestId id) {
    object = {{"event", name}, {"id", number_of(id)}};
  };
  const auto made_object = [&](const char* name, RequestId id, const auto& made) {
    event_object(name, id);
    object["tokens"] = made.tokens;
    object["sampled_us"] = made.sampled_us;
  };
  std::visit(
      Overloaded{
          [&](const Hello& hello) {
            object = {{"event", "hello"}, {"protocol", hello.protocol}, {"worker", hello.worker_version}, {"engine", hello.engine_version}};
          },
          [&](const Loading& loading) { object = {{"event", "loading"}, {"progress", loading.progress}}; },
          [&](const Ready& ready) {
            object = {{"event", "ready"},
                      {"model",
                       {{"name", ready.model.name},
                        {"architecture", ready.model.architecture},
                        {"parameters", ready.model.parameters},
                        {"file_bytes", ready.model.file_bytes},
                        {"context_trained", ready.model.context_trained},
                        {"vocabulary", ready.model.vocabulary}}},
                      {"slots", ready.slots},
                      {"context_tokens", ready.context_tokens},
                      {"kv_bytes", ready.kv_bytes},
                      {"backends", ready.backends},
                      {"chat_template", ready.chat_template},
                      {"tool_syntax", ready.tool_syntax},
                      {"thinks", ready.thinks},
                      {"exact", ready.exact},
                      {"store", ready.store},
                      {"store_problem", ready.store_problem}};
          },
          [&](const Counted& counted) {
            event_object("counted", counted.id);
            object["input_tokens"] = counted.input_tokens;
            if (!counted.tokens.empty()) object["tokens"] = counted.tokens;
            if (!counted.opening.empty()) object["opening"] = counted.opening;
            if (!counted.origin.empty()) object["origin"] = counted.origin;
          },
          [&](const Event& event) {
            std::visit(Overloaded{
                           [&](const Started& started) {
                             event_object("started", event.id);
                             object["input_tokens"] = started.input_tokens;
                             object["cached_tokens"] = started.cached_tokens;
                             if (started.kept_tokens != 0) object["kept_tokens"] = started.kept_tokens;
                           },
                           [&](const Prefilled& prefilled) {
                             event_object("prefilled", event.id);
                             object["done_tokens"] = prefilled.done_tokens;
                             object["total_tokens"] = prefilled.total_tokens;
                           },
                           [&](const Text& text) {
                             made_object("text", event.id, text);
                             object["text"] = text.text;
                           },
                           [&](const Thinking& thinking) {
                             made_object("thinking", event.id, thinking);
                             object["text"] = thinking.text;
                           },
                           [&](const ToolCallBegun& begun) {
                             made_object("tool_call_begun", event.id, begun);
                             object["call_id"] = begun.id;
                             object["name"] = begun.name;
                           },
                           [&](const ToolInput& input) {
                             made_object("tool_input", event.id, input);
                             object["json"] = input.json;
                           },
                           [&](const ToolCallEnded& ended) { made_object("tool_call_ended", event.id, ended); },
                           [&](const Finished& finished) {
                             event_object("finish", event.id);
                             object["reason"] = spelled(kFinishReasons, finished.reason);
                             if (!finished.stop_sequence.empty()) object["stop_sequence"] = finished.stop_sequence;
                             if (!finished.violation.empty()) object["violation"] = finished.violation;
                             object["input_tokens"] = finished.usage.input_tokens;
                             object["cached_tokens"] = finished.usage.cached_tokens;
                             if (finished.usage.kept_tokens != 0) object["kept_tokens"] = finished.usage.kept_tokens;
                             object["output_tokens"] = finished.usage.output_tokens;
                             object["tokens"] = finished.tokens;
                             object["prefill_us"] = finished.prefill_us;
                             object["decode_us"] = finished.decode_us;
                           },
                           [&](const Failed& failed) {
                             object = json_of(failed.error);
                             object["event"] = "error";
                             object["id"] = number_of(event.id);
                           },
                       },
                       event.event);
          },
          [&](const HealthReport& health) {
            object = {{"event", "health"}, {"state", health.state}, {"running", health.running}, {"waiting", health.waiting}, {"steps", health.steps}, {"pulse", health.pulse}};
            Json& kv = object["kv"];
            for (const auto& [name, member] : kKvNumbers) kv[name] = health.kv.*member;
            kv["store_problem"] = health.kv.store_problem;
            object["pace"] = {{"alone_tokens_per_second", health.pace.alone_tokens_per_second}, {"beside_tokens_per_second", health.pace.beside_tokens_per_second},
                              {"beside_chunk", health.pace.beside_chunk}, {"step_seconds", health.pace.step_seconds}};
          },
          [&](const Fatal& fatal) {
            object = json_of(fatal.error);
            object["event"] = "fatal";
          },
      },
      report);
  return line_of(object);
}

Result<Report> parse_report(std::string_view line) {
  const Result<Json> object = parse_object(line);
  if (!object) return object.error();
  Reader reader(*object);
  const std::string name = reader.text("event", true);
  Report report = Loading{};
  if (name == "hello") {
    report = Hello{reader.integer<int>("protocol", true).value_or(0), reader.text("worker"), reader.text("engine")};
  } else if (name == "loading") {
    report = Loading{static_cast<double>(reader.number("progress").value_or(0))};
  } else if (name == "ready") {
    report = read_ready(reader);
  } else if (name == "counted") {
    report = Counted{reader.id(), reader.integer<std::int32_t>("input_tokens", true).value_or(0), reader.tokens("tokens"), reader.text("opening"), reader.text("origin")};
  } else if (name == "started") {
    report = Event{reader.id(), Started{reader.integer<std::int32_t>("input_tokens", true).value_or(0),
                                        reader.integer<std::int32_t>("cached_tokens").value_or(0),
                                        reader.integer<std::int32_t>("kept_tokens").value_or(0)}};
  } else if (name == "prefilled") {
    report = Event{reader.id(), Prefilled{reader.integer<std::int32_t>("done_tokens", true).value_or(0),
                                          reader.integer<std::int32_t>("total_tokens", true).value_or(0)}};
  } else if (name == "text") {
    report = Event{reader.id(), Text{reader.text("text", true), reader.tokens("tokens"), reader.sampled_us()}};
  } else if (name == "thinking") {
    report = Event{reader.id(), Thinking{reader.text("text", true), reader.tokens("tokens"), reader.sampled_us()}};
  } else if (name == "tool_call_begun") {
    report = Event{reader.id(), ToolCallBegun{reader.text("call_id", true), reader.text("name", true), reader.tokens("tokens"), reader.sampled_us()}};
  } else if (name == "tool_input") {
    report = Event{reader.id(), ToolInput{reader.text("json", true), reader.tokens("tokens"), reader.sampled_us()}};
  } else if (name == "tool_call_ended") {
    report = Event{reader.id(), ToolCallEnded{reader.tokens("tokens"), reader.sampled_us()}};
  } else if (name == "finish") {
    const RequestId id = reader.id();
    report = Event{id, read_finish(reader)};
  } else if (name == "error") {
    const RequestId id = reader.id();
    report = Event{id, Failed{read_error(reader)}};
  } else if (name == "health") {
    report = HealthReport{reader.text("state"), reader.integer<std::int32_t>("running").value_or(0),
                          reader.integer<std::int32_t>("waiting").value_or(0), reader.integer<std::uint64_t>("steps").value_or(0),
                          reader.integer<std::uint64_t>("pulse").value_or(0), read_kv_facts(reader), read_pace(reader)};
  } else if (name == "fatal") {
    report = Fatal{read_error(reader)};
  } else {
    reader.fail("event", "a known event name");
  }
  if (reader.failed()) return reader.take_error();
  return report;
}

}  // namespace pensieve::wire
