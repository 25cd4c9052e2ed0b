#include "wire/frames.h"

#include <fmt/format.h>

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

Prompt read_prompt(Reader& reader) {
  Prompt prompt;
  prompt.tokens = reader.tokens("tokens");
  const Json* messages = reader.find("messages");
  if (messages == nullptr) {
    if (prompt.tokens.empty()) reader.fail("messages", "an array of messages, or tokens");
    return prompt;
  }
  if (!messages->is_array()) {
    reader.fail("messages", "an array");
    return prompt;
  }
  for (std::size_t i = 0; i < messages->size(); ++i) {
    const Json& element = (*messages)[i];
    if (!element.is_object()) {
      reader.fail(fmt::format("messages.{}", i), "an object");
      return prompt;
    }
    Reader message(element);
    const auto role = role_of(message.text("role", true));
    if (!role) reader.fail(fmt::format("messages.{}.role", i), "system, user or assistant");
    std::string text = message.text("content", true);
    if (message.failed()) reader.fail(fmt::format("messages.{}", i), "role and content as strings");
    prompt.messages.push_back({role.value_or(Role::user), std::move(text)});
  }
  if (prompt.messages.empty() && prompt.tokens.empty()) reader.fail("messages", "at least one message");
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
  if (request.max_tokens < 1) reader.fail("max_tokens", "an integer of at least 1");
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
  finished.usage.input_tokens = reader.integer<std::int32_t>("input_tokens").value_or(0);
  finished.usage.cached_tokens = reader.integer<std::int32_t>("cached_tokens").value_or(0);
  finished.usage.output_tokens = reader.integer<std::int32_t>("output_tokens").value_or(0);
  finished.tokens = reader.tokens("tokens");
  finished.prefill_us = reader.integer<std::int64_t>("prefill_us").value_or(0);
  finished.decode_us = reader.integer<std::int64_t>("decode_us").value_or(0);
  return finished;
}

Ready read_ready(Reader& reader) {
  Ready ready;
  ready.slots = reader.integer<std::int32_t>("slots", true).value_or(0);
  ready.context_tokens = reader.integer<std::int32_t>("context_tokens", true).value_or(0);
  ready.kv_bytes = reader.integer<std::uint64_t>("kv_bytes").value_or(0);
  ready.backends = reader.text("backends");
  ready.chat_template = reader.text("chat_template");
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

void put_prompt(Json& object, const Prompt& prompt) {
  if (!prompt.tokens.empty()) object["tokens"] = prompt.tokens;
  if (prompt.messages.empty()) return;
  Json& messages = object["messages"] = Json::array();
  for (const Message& message : prompt.messages) {
    messages.push_back({{"role", name_of(message.role)}, {"content", message.text}});
  }
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
                 },
                 [&](const Cancel& cancel) { object = {{"cmd", "cancel"}, {"id", number_of(cancel.id)}}; },
                 [&](const Pause& pause) { object = {{"cmd", "pause"}, {"id", number_of(pause.id)}}; },
                 [&](const Resume& resume) { object = {{"cmd", "resume"}, {"id", number_of(resume.id)}}; },
                 [&](const Health&) { object = {{"cmd", "health"}}; },
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
  else if (name == "shutdown") command = Shutdown{};
  else reader.fail("cmd", "one of count, generate, cancel, pause, resume, health, shutdown");
  if (reader.failed()) return reader.take_error();
  return command;
}

std::string encode(const Report& report) {
  Json object;
  const auto event_object = [&](const char* name, RequestId id) {
    object = {{"event", name}, {"id", number_of(id)}};
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
                      {"chat_template", ready.chat_template}};
          },
          [&](const Counted& counted) {
            event_object("counted", counted.id);
            object["input_tokens"] = counted.input_tokens;
            if (!counted.tokens.empty()) object["tokens"] = counted.tokens;
          },
          [&](const Event& event) {
            std::visit(Overloaded{
                           [&](const Started& started) {
                             event_object("started", event.id);
                             object["input_tokens"] = started.input_tokens;
                             object["cached_tokens"] = started.cached_tokens;
                           },
                           [&](const Prefilled& prefilled) {
                             event_object("prefilled", event.id);
                             object["done_tokens"] = prefilled.done_tokens;
                             object["total_tokens"] = prefilled.total_tokens;
                           },
                           [&](const Text& text) {
                             event_object("text", event.id);
                             object["text"] = text.text;
                             object["tokens"] = text.tokens;
                             object["sampled_us"] = text.sampled_us;
                           },
                           [&](const Finished& finished) {
                             event_object("finish", event.id);
                             object["reason"] = spelled(kFinishReasons, finished.reason);
                             if (!finished.stop_sequence.empty()) object["stop_sequence"] = finished.stop_sequence;
                             object["input_tokens"] = finished.usage.input_tokens;
                             object["cached_tokens"] = finished.usage.cached_tokens;
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
            object = {{"event", "health"}, {"state", health.state}, {"running", health.running}, {"waiting", health.waiting}, {"steps", health.steps}};
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
    report = Counted{reader.id(), reader.integer<std::int32_t>("input_tokens", true).value_or(0), reader.tokens("tokens")};
  } else if (name == "started") {
    report = Event{reader.id(), Started{reader.integer<std::int32_t>("input_tokens", true).value_or(0),
                                        reader.integer<std::int32_t>("cached_tokens").value_or(0)}};
  } else if (name == "prefilled") {
    report = Event{reader.id(), Prefilled{reader.integer<std::int32_t>("done_tokens", true).value_or(0),
                                          reader.integer<std::int32_t>("total_tokens", true).value_or(0)}};
  } else if (name == "text") {
    report = Event{reader.id(), Text{reader.text("text", true), reader.tokens("tokens"),
                                     reader.integer<std::int64_t>("sampled_us").value_or(0)}};
  } else if (name == "finish") {
    const RequestId id = reader.id();
    report = Event{id, read_finish(reader)};
  } else if (name == "error") {
    const RequestId id = reader.id();
    report = Event{id, Failed{read_error(reader)}};
  } else if (name == "health") {
    report = HealthReport{reader.text("state"), reader.integer<std::int32_t>("running").value_or(0),
                          reader.integer<std::int32_t>("waiting").value_or(0), reader.integer<std::uint64_t>("steps").value_or(0)};
  } else if (name == "fatal") {
    report = Fatal{read_error(reader)};
  } else {
    reader.fail("event", "a known event name");
  }
  if (reader.failed()) return reader.take_error();
  return report;
}

}  // namespace pensieve::wire
