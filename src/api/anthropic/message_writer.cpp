#include "api/anthropic/message_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/anthropic/errors.h"

namespace pensieve::anthropic {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string event(std::string_view name, const Json& data) { return fmt::format("event: {}\ndata: {}\n\n", name, dump(data)); }

// The three input counts are disjoint; their sum is the prompt.
Json usage_json(std::int32_t input_tokens, std::int32_t cached_tokens, std::int32_t output_tokens) {
  return {{"input_tokens", input_tokens - cached_tokens},
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached_tokens},
          {"output_tokens", output_tokens}};
}

const char* stop_reason_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::end_turn: return "end_turn";
    case FinishReason::max_tokens: return "max_tokens";
    case FinishReason::stop_sequence: return "stop_sequence";
    case FinishReason::tool_use: return "tool_use";
    case FinishReason::model_context_window_exceeded: return "model_context_window_exceeded";
    case FinishReason::cancelled: return "end_turn";  // Nobody is left to read it.
  }
  return "end_turn";
}

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json message_json(const std::string& id, const std::string& model) {
  return {{"id", id},
          {"type", "message"},
          {"role", "assistant"},
          {"model", model},
          {"content", Json::array()},
          {"stop_reason", nullptr},
          {"stop_sequence", nullptr},
          {"stop_details", nullptr},
          {"container", nullptr}};
}

}  // namespace

MessageWriter::MessageWriter(std::string message_id, std::string model) : message_id_(std::move(message_id)), model_(std::move(model)) {}

std::string MessageWriter::events_for(const StreamEvent& stream_event, const std::string& request_id) {
  if (const auto* text = std::get_if<Text>(&stream_event)) {
    return event("content_block_delta",
                 {{"type", "content_block_delta"}, {"index", 0}, {"delta", {{"type", "text_delta"}, {"text", text->text}}}});
  }
  if (const auto* started = std::get_if<Started>(&stream_event)) return start(*started);
  if (const auto* finished = std::get_if<Finished>(&stream_event)) return finish(*finished);
  if (const auto* failed = std::get_if<Failed>(&stream_event)) {
    return fmt::format("event: error\ndata: {}\n\n", error_body(status_of(failed->error.code), failed->error.message, request_id));
  }
  return {};
}

std::string_view MessageWriter::ping() const { return "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

std::string MessageWriter::start(const Started& started) {
  Json message = message_json(message_id_, model_);
  message["usage"] = usage_json(started.input_tokens, started.cached_tokens, 0);
  return event("message_start", {{"type", "message_start"}, {"message", message}}) +
         event("content_block_start",
               {{"type", "content_block_start"}, {"index", 0}, {"content_block", {{"type", "text"}, {"text", ""}, {"citations", nullptr}}}});
}

std::string MessageWriter::finish(const Finished& finished) {
  const Usage& usage = finished.usage;
  return event("content_block_stop", {{"type", "content_block_stop"}, {"index", 0}}) +
         event("message_delta", {{"type", "message_delta"},
                                 {"delta", {{"stop_reason", stop_reason_of(finished.reason)}, {"stop_sequence", or_null(finished.stop_sequence)}}},
                                 {"usage", usage_json(usage.input_tokens, usage.cached_tokens, usage.output_tokens)}}) +
         event("message_stop", {{"type", "message_stop"}});
}

void MessageWriter::collect(const StreamEvent& event) {
  if (const auto* text = std::get_if<Text>(&event)) text_ += text->text;
}

std::string MessageWriter::whole(const Finished& finished) {
  Json message = message_json(message_id_, model_);
  message["content"].push_back({{"type", "text"}, {"text", text_}, {"citations", nullptr}});
  message["stop_reason"] = stop_reason_of(finished.reason);
  message["stop_sequence"] = or_null(finished.stop_sequence);
  message["usage"] = usage_json(finished.usage.input_tokens, finished.usage.cached_tokens, finished.usage.output_tokens);
  return dump(message);
}

}  // namespace pensieve::anthropic
