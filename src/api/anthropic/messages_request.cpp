#include "api/anthropic/messages_request.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/utf8.h"

namespace pensieve::anthropic {
namespace {

using Json = nlohmann::json;

constexpr int kDepthMax = 64;
constexpr std::size_t kStopSequencesMax = 64;
constexpr std::string_view kBillingMark = "x-anthropic-billing-header:";

Error wrong(std::string_view field, std::string_view expected) {
  return {ErrorCode::invalid_argument, fmt::format("{}: {}", field, expected)};
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 40 ? text : utf8_sanitise(text.substr(0, 40)) + "...";
}

// The request as JSON, no deeper than kDepthMax, so that nothing later recurses without bound.
Result<Json> parse_bounded(std::string_view body) {
  bool too_deep = false;
  const auto watch_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kDepthMax;
    return !too_deep;
  };
  if (!utf8_valid(body)) return Error{ErrorCode::invalid_argument, "the request body is not valid UTF-8"};
  Json json = Json::parse(body, watch_depth, false);
  if (too_deep) return Error{ErrorCode::invalid_argument, fmt::format("the request body is nested more than {} levels deep", kDepthMax)};
  if (json.is_discarded()) return Error{ErrorCode::invalid_argument, "the request body is not valid JSON"};
  if (!json.is_object()) return Error{ErrorCode::invalid_argument, "the request body must be a JSON object"};
  return json;
}

const Json* find(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

// Text of a string or of an array of text blocks.
Result<std::string> text_of(const Json& content, const std::string& field) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return wrong(field, "must be a string or an array of content blocks");
  std::string text;
  for (std::size_t i = 0; i < content.size(); ++i) {
    const Json& block = content[i];
    const std::string at = fmt::format("{}.{}", field, i);
    if (!block.is_object()) return wrong(at, "must be an object");
    const Json* type = find(block, "type");
    if (type == nullptr || !type->is_string()) return wrong(at + ".type", "must be a string");
    const std::string& kind = type->get_ref<const std::string&>();
    if (kind == "thinking" || kind == "redacted_thinking") continue;  // Old thinking is not shown to the model again.
    if (kind != "text") return wrong(at + ".type", fmt::format("'{}' blocks are not supported yet; this release reads text", kind));
    const Json* piece = find(block, "text");
    if (piece == nullptr || !piece->is_string()) return wrong(at + ".text", "must be a string");
    const std::string& words = piece->get_ref<const std::string&>();
    // Claude Code's billing line changes with every conversation and would spoil every shared prefix.
    if (words.starts_with(kBillingMark)) continue;
    if (!text.empty() && !words.empty()) text += "\n\n";
    text += words;
  }
  return text;
}

Result<std::vector<Message>> read_messages(const Json& body) {
  std::vector<Message> messages;
  if (const Json* system = find(body, "system")) {
    auto text = text_of(*system, "system");
    if (!text) return std::move(text).error();
    if (!text->empty()) messages.push_back({Role::system, *std::move(text)});
  }
  const Json* list = find(body, "messages");
  if (list == nullptr) return wrong("messages", "field required");
  if (!list->is_array()) return wrong("messages", "must be an array");
  if (list->empty()) return wrong("messages", "must have at least one message");
  Role last = Role::system;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& message = (*list)[i];
    const std::string at = fmt::format("messages.{}", i);
    if (!message.is_object()) return wrong(at, "must be an object");
    const Json* name = find(message, "role");
    if (name == nullptr || !name->is_string()) return wrong(at + ".role", "must be 'user', 'assistant' or 'system'");
    const std::string& role_name = name->get_ref<const std::string&>();
    Role role = Role::user;
    if (role_name == "assistant") role = Role::assistant;
    else if (role_name == "system") role = Role::system;
    else if (role_name != "user") return wrong(at + ".role", fmt::format("must be 'user', 'assistant' or 'system', not {}", shown(*name)));
    const Json* content = find(message, "content");
    if (content == nullptr) return wrong(at + ".content", "field required");
    auto text = text_of(*content, at + ".content");
    if (!text) return std::move(text).error();
    if (text->empty() && role == Role::user) return wrong(at + ".content", "must not be empty");
    last = role;
    // The first system block and one in the first message are not the same turn.
    if (!messages.empty() && messages.back().role == role && i > 0) messages.back() = {role, messages.back().text() + "\n\n" + *text};
    else messages.push_back({role, *std::move(text)});
  }
  if (last == Role::assistant) {
    return wrong(fmt::format("messages.{}.role", list->size() - 1), "the last message is the assistant's; continuing it (prefill) is not supported yet");
  }
  return messages;
}

Result<std::optional<float>> number_in(const Json& body, const char* field, double low, double high) {
  const Json* value = find(body, field);
  if (value == nullptr) return std::optional<float>();
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= low && number <= high)) return wrong(field, fmt::format("must be a number from {} to {}, not {}", low, high, shown(*value)));
  return std::optional(static_cast<float>(number));
}

Result<std::optional<std::int64_t>> integer_from(const Json& body, const char* field, std::int64_t low) {
  const Json* value = find(body, field);
  if (value == nullptr) return std::optional<std::int64_t>();
  const bool fits = value->is_number_integer() && !(value->is_number_unsigned() && value->get<std::uint64_t>() > INT64_MAX);
  if (!fits || value->get<std::int64_t>() < low) return wrong(field, fmt::format("must be an integer of at least {}, not {}", low, shown(*value)));
  return std::optional(value->get<std::int64_t>());
}

Result<Sampling> read_sampling(const Json& body) {
  Sampling sampling;
  struct Field {
    const char* name;
    std::optional<float>* value;
    double low, high;
  };
  const Field fields[] = {
      {"temperature", &sampling.temperature, 0, 2},           {"top_p", &sampling.top_p, 0, 1},
      {"min_p", &sampling.min_p, 0, 1},                       {"repeat_penalty", &sampling.repeat_penalty, 0.1, 10},
      {"presence_penalty", &sampling.presence_penalty, -2, 2}, {"frequency_penalty", &sampling.frequency_penalty, -2, 2},
  };
  for (const Field& field : fields) {
    auto number = number_in(body, field.name, field.low, field.high);
    if (!number) return std::move(number).error();
    *field.value = *number;
  }
  auto top_k = integer_from(body, "top_k", 0);
  if (!top_k) return std::move(top_k).error();
  if (*top_k) sampling.top_k = static_cast<std::int32_t>(std::min<std::int64_t>(**top_k, INT32_MAX));
  auto seed = integer_from(body, "seed", 0);
  if (!seed) return std::move(seed).error();
  if (*seed) sampling.seed = static_cast<std::uint64_t>(**seed);
  return sampling;
}

Result<std::vector<std::string>> read_stop_sequences(const Json& body) {
  std::vector<std::string> stops;
  const Json* list = find(body, "stop_sequences");
  if (list == nullptr) return stops;
  if (!list->is_array()) return wrong("stop_sequences", "must be an array of strings");
  if (list->size() > kStopSequencesMax) return wrong("stop_sequences", fmt::format("has {} entries; at most {} are allowed", list->size(), kStopSequencesMax));
  for (std::size_t i = 0; i < list->size(); ++i) {
    const Json& stop = (*list)[i];
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty()) return wrong(fmt::format("stop_sequences.{}", i), "must be a non-empty string");
    stops.push_back(stop.get<std::string>());
  }
  return stops;
}

// What would be answered wrongly if it were ignored.
Result<void> refuse_what_is_to_come(const Json& body) {
  const auto later = [](const char* field) { return wrong(field, "not supported yet; it comes in a later release"); };
  if (const Json* tools = find(body, "tools")) {
    if (!tools->is_array()) return wrong("tools", "must be an array");
    if (!tools->empty()) return later("tools");
  }
  if (const Json* output = find(body, "output_config"); output != nullptr && output->is_object() && find(*output, "format") != nullptr) return later("output_config.format");
  for (const char* field : {"output_format", "mcp_servers", "container"}) {
    const Json* value = find(body, field);
    if (value != nullptr && !value->empty()) return later(field);
  }
  if (const Json* thinking = find(body, "thinking"); thinking != nullptr && !thinking->is_object()) return wrong("thinking", "must be an object");
  return {};
}

}  // namespace

Result<MessagesRequest> parse_messages_request(std::string_view text, Endpoint endpoint) {
  const Result<Json> parsed = parse_bounded(text);
  if (!parsed) return parsed.error();
  const Json& body = *parsed;

  MessagesRequest request;
  const Json* model = find(body, "model");
  if (model == nullptr) return wrong("model", "field required");
  if (!model->is_string() || model->get_ref<const std::string&>().empty()) return wrong("model", "must be a non-empty string");
  request.model = model->get<std::string>();
  if (request.model.size() > 256) return wrong("model", "must have at most 256 characters");

  if (endpoint == Endpoint::messages) {
    auto max_tokens = integer_from(body, "max_tokens", 1);
    if (!max_tokens) return std::move(max_tokens).error();
    if (!*max_tokens) return wrong("max_tokens", "field required");
    request.max_tokens = static_cast<std::int32_t>(std::min<std::int64_t>(**max_tokens, INT32_MAX));
    if (const Json* stream = find(body, "stream")) {
      if (!stream->is_boolean()) return wrong("stream", "must be true or false");
      request.stream = stream->get<bool>();
    }
  }
  if (Result<void> known = refuse_what_is_to_come(body); !known) return std::move(known).error();
  auto messages = read_messages(body);
  if (!messages) return std::move(messages).error();
  request.prompt.messages = *std::move(messages);
  auto sampling = read_sampling(body);
  if (!sampling) return std::move(sampling).error();
  request.sampling = *sampling;
  auto stops = read_stop_sequences(body);
  if (!stops) return std::move(stops).error();
  request.stop_sequences = *std::move(stops);
  return request;
}

}  // namespace pensieve::anthropic
