#include "api/anthropic/message_writer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/anthropic/errors.h"
#include "api/anthropic/sealed_thinking.h"

namespace pensieve::anthropic {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string event(std::string_view name, const Json& data) { return fmt::format("event: {}\ndata: {}\n\n", name, dump(data)); }

// The three input counts are disjoint; their sum is the prompt.
Json usage_json(std::int32_t input_tokens, std::int32_t cached_tokens, std::int32_t kept_tokens, std::int32_t output_tokens, std::int32_t thinking_tokens) {
  Json usage = {{"input_tokens", input_tokens - cached_tokens - kept_tokens},
                {"cache_creation_input_tokens", kept_tokens},
                {"cache_read_input_tokens", cached_tokens},
                {"output_tokens", output_tokens}};
  if (thinking_tokens > 0) usage["output_tokens_details"] = {{"thinking_tokens", thinking_tokens}};
  return usage;
}

Json text_json(const std::string& text) { return {{"type", "text"}, {"text", text}, {"citations", nullptr}}; }
Json thinking_json(const std::string& thinking, const std::string& signature) {
  return {{"type", "thinking"}, {"thinking", thinking}, {"signature", signature}};
}
Json call_json(const std::string& id, const std::string& name, const Json& input) {
  return {{"type", "tool_use"}, {"id", id}, {"name", name}, {"input", input}, {"caller", {{"type", "direct"}}}};
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

// Not among the API's own kinds: nothing there tells that an answer is not as its schema wants. Clients that do not know it read past it.
Json details_json(const std::string& violation) {
  return violation.empty() ? Json() : Json{{"type", "schema_violation"}, {"explanation", violation}};
}

Json diagnostics_json(const std::optional<CacheMiss>& miss) {
  if (!miss) return Json();
  Json reason = {{"type", std::string(miss->type)}};
  if (miss->missed_tokens) reason["cache_missed_input_tokens"] = *miss->missed_tokens;
  return {{"cache_miss_reason", reason}};
}

Json message_json(const std::string& id, const std::string& model, const std::optional<CacheMiss>& miss) {
  return {{"id", id},
          {"type", "message"},
          {"role", "assistant"},
          {"model", model},
          {"content", Json::array()},
          {"stop_reason", nullptr},
          {"stop_sequence", nullptr},
          {"stop_details", nullptr},
          {"container", nullptr},
          {"diagnostics", diagnostics_json(miss)}};
}

}  // namespace

struct MessageWriter::Content {
  Json blocks = Json::array();
  std::string input;  // Of the call that is open.
};

MessageWriter::MessageWriter(std::string message_id, std::string model, bool thinking_omitted, Diagnose diagnose)
    : message_id_(std::move(message_id)), model_(std::move(model)), thinking_omitted_(thinking_omitted), content_(std::make_unique<Content>()), diagnose_(std::move(diagnose)) {}

MessageWriter::~MessageWriter() = default;

std::string MessageWriter::events_for(const StreamEvent& stream_event, const std::string& request_id) {
  if (const auto* text = std::get_if<Text>(&stream_event)) {
    std::string events = open(Open::text);
    return events += delta("text_delta", "text", text->text);
  }
  if (const auto* thinking = std::get_if<Thinking>(&stream_event)) {
    thinking_tokens_ += static_cast<std::int32_t>(thinking->tokens.size());
    std::string events = open(Open::thinking);
    if (thinking_omitted_) unseen_thinking_ += thinking->text;
    else events += delta("thinking_delta", "thinking", thinking->text);
    return events;
  }
  if (const auto* begun = std::get_if<ToolCallBegun>(&stream_event)) {
    std::string events = close();
    open_ = Open::call;
    return events + event("content_block_start", {{"type", "content_block_start"}, {"index", ++index_}, {"content_block", call_json(begun->id, begun->name, Json::object())}});
  }
  if (const auto* input = std::get_if<ToolInput>(&stream_event)) return delta("input_json_delta", "partial_json", input->json);
  if (std::holds_alternative<ToolCallEnded>(stream_event)) return close();
  if (const auto* started = std::get_if<Started>(&stream_event)) return start(*started);
  if (const auto* finished = std::get_if<Finished>(&stream_event)) return finish(*finished);
  if (const auto* failed = std::get_if<Failed>(&stream_event)) {
    return fmt::format("event: error\ndata: {}\n\n", error_body(status_of(failed->error.code), failed->error.message, request_id));
  }
  return {};
}

std::string_view MessageWriter::ping() const { return "event: ping\ndata: {\"type\":\"ping\"}\n\n"; }

std::string MessageWriter::start(const Started& started) {
  if (diagnose_) miss_ = diagnose_(started);
  Json message = message_json(message_id_, model_, miss_);
  message["usage"] = usage_json(started.input_tokens, started.cached_tokens, started.kept_tokens, 0, 0);
  return event("message_start", {{"type", "message_start"}, {"message", message}});
}

std::string MessageWriter::open(Open kind) {
  if (open_ == kind) return {};
  std::string events = close();
  open_ = kind;
  const Json block = kind == Open::text ? text_json("") : thinking_json("", "");
  return events + event("content_block_start", {{"type", "content_block_start"}, {"index", ++index_}, {"content_block", block}});
}

std::string MessageWriter::close() {
  if (open_ == Open::nothing) return {};
  std::string events;
  if (open_ == Open::thinking && thinking_omitted_) events = delta("signature_delta", "signature", seal_thinking(std::exchange(unseen_thinking_, {})));
  open_ = Open::nothing;
  return events + event("content_block_stop", {{"type", "content_block_stop"}, {"index", index_}});
}

std::string MessageWriter::delta(const char* type, const char* field, const std::string& text) const {
  return event("content_block_delta", {{"type", "content_block_delta"}, {"index", index_}, {"delta", {{"type", type}, {field, text}}}});
}

std::string MessageWriter::finish(const Finished& finished) {
  const Usage& usage = finished.usage;
  std::string events;
  // Clients read content[0] of an answer that says nothing, too.
  if (index_ < 0 && usage.output_tokens > 0) events = open(Open::text);
  // A call that was not sampled whole is never closed: it would be executed.
  if (open_ != Open::call) events += close();
  Json delta = {{"stop_reason", stop_reason_of(finished.reason)}, {"stop_sequence", or_null(finished.stop_sequence)}};
  if (!finished.violation.empty()) delta["stop_details"] = details_json(finished.violation);
  return events +
         event("message_delta", {{"type", "message_delta"},
                                 {"delta", delta},
                                 {"usage", usage_json(usage.input_tokens, usage.cached_tokens, usage.kept_tokens, usage.output_tokens, thinking_tokens_)}}) +
         event("message_stop", {{"type", "message_stop"}});
}

void MessageWriter::collect(const StreamEvent& stream_event) {
  Json& blocks = content_->blocks;
  const auto last_is = [&](const char* type) { return !blocks.empty() && blocks.back()["type"] == type; };
  if (const auto* started = std::get_if<Started>(&stream_event)) {
    if (diagnose_) miss_ = diagnose_(*started);
  } else if (const auto* text = std::get_if<Text>(&stream_event)) {
    if (!last_is("text")) blocks.push_back(text_json(""));
    blocks.back()["text"].get_ref<std::string&>() += text->text;
  } else if (const auto* thinking = std::get_if<Thinking>(&stream_event)) {
    thinking_tokens_ += static_cast<std::int32_t>(thinking->tokens.size());
    if (!last_is("thinking")) blocks.push_back(thinking_json("", ""));
    blocks.back()["thinking"].get_ref<std::string&>() += thinking->text;
  } else if (const auto* begun = std::get_if<ToolCallBegun>(&stream_event)) {
    content_->input.clear();
    open_ = Open::call;
    blocks.push_back(call_json(begun->id, begun->name, Json::object()));
  } else if (const auto* input = std::get_if<ToolInput>(&stream_event)) {
    content_->input += input->json;
  } else if (std::holds_alternative<ToolCallEnded>(stream_event)) {
    open_ = Open::nothing;
    Json parsed = Json::parse(content_->input, nullptr, false);
    if (parsed.is_object()) blocks.back()["input"] = std::move(parsed);
  }
}

std::string MessageWriter::whole(const Finished& finished) {
  Json& blocks = content_->blocks;
  if (open_ == Open::call) blocks.erase(blocks.size() - 1);  // Not sampled whole.
  for (Json& block : blocks) {
    if (!thinking_omitted_ || block["type"] != "thinking") continue;
    block["signature"] = seal_thinking(block["thinking"].get_ref<const std::string&>());
    block["thinking"] = "";
  }
  if (blocks.empty() && finished.usage.output_tokens > 0) blocks.push_back(text_json(""));
  Json message = message_json(message_id_, model_, miss_);
  message["content"] = std::move(blocks);
  message["stop_reason"] = stop_reason_of(finished.reason);
  message["stop_sequence"] = or_null(finished.stop_sequence);
  message["stop_details"] = details_json(finished.violation);
  message["usage"] = usage_json(finished.usage.input_tokens, finished.usage.cached_tokens, finished.usage.kept_tokens, finished.usage.output_tokens, thinking_tokens_);
  return dump(message);
}

}  // namespace pensieve::anthropic
