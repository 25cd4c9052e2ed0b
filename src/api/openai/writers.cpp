#include "api/openai/writers.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "api/openai/errors.h"

namespace pensieve::openai {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }
std::string data_line(const Json& json) { return fmt::format("data: {}\n\n", dump(json)); }
std::string error_line(const Failed& failed) { return fmt::format("data: {}\n\n", error_body(status_of(failed.error.code), failed.error.message)); }
constexpr std::string_view kPing = ": ping\n\n";
constexpr const char* kDone = "data: [DONE]\n\n";

const char* finish_reason_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::max_tokens:
    case FinishReason::model_context_window_exceeded: return "length";
    case FinishReason::tool_use: return "tool_calls";
    case FinishReason::end_turn:
    case FinishReason::stop_sequence:
    case FinishReason::cancelled: return "stop";
  }
  return "stop";
}

Json usage_json(const Usage& usage, std::int32_t thinking_tokens) {
  return {{"prompt_tokens", usage.input_tokens},
          {"completion_tokens", usage.output_tokens},
          {"total_tokens", usage.input_tokens + usage.output_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
          {"completion_tokens_details", {{"reasoning_tokens", thinking_tokens}}}};
}

// An answer as it grew.
struct Call {
  std::string id;
  std::string name;
  std::string arguments;
  bool whole = false;  // One that was cut off must not be run.
};
struct Collected {
  std::string text;
  std::string thinking;
  std::vector<Call> calls;
  std::int32_t thinking_tokens = 0;

  void add(const StreamEvent& event) {
    if (const auto* piece = std::get_if<Text>(&event)) text += piece->text;
    if (const auto* piece = std::get_if<Thinking>(&event)) thinking += piece->text, thinking_tokens += static_cast<std::int32_t>(piece->tokens.size());
    if (const auto* begun = std::get_if<ToolCallBegun>(&event)) calls.push_back({begun->id, begun->name, "", false});
    if (const auto* input = std::get_if<ToolInput>(&event); input != nullptr && !calls.empty()) calls.back().arguments += input->json;
    if (std::holds_alternative<ToolCallEnded>(event) && !calls.empty()) calls.back().whole = true;
  }
};

class ChatWriter final : public AnswerWriter {
 public:
  ChatWriter(const std::string& id, std::int64_t created_s, const Request& request)
      : id_("chatcmpl-" + id), model_(request.asked.model), created_s_(created_s), include_usage_(request.include_usage) {}

  std::string events_for(const StreamEvent& event, const std::string&) override {
    all_.add(event);
    if (std::holds_alternative<Started>(event)) return chunk({{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}});
    if (const auto* text = std::get_if<Text>(&event)) return chunk({{"content", text->text}});
    if (const auto* thought = std::get_if<Thinking>(&event)) return chunk({{"reasoning_content", thought->text}});
    if (const auto* begun = std::get_if<ToolCallBegun>(&event)) {
      return call_chunk({{"index", all_.calls.size() - 1}, {"id", begun->id}, {"type", "function"}, {"function", {{"name", begun->name}, {"arguments", ""}}}});
    }
    if (const auto* input = std::get_if<ToolInput>(&event); input != nullptr && !all_.calls.empty()) {
      return call_chunk({{"index", all_.calls.size() - 1}, {"function", {{"arguments", input->json}}}});
    }
    if (const auto* failed = std::get_if<Failed>(&event)) return error_line(*failed);
    const auto* finished = std::get_if<Finished>(&event);
    if (finished == nullptr) return {};
    std::string out = chunk(Json::object(), finish_reason_of(finished->reason));
    if (include_usage_) {
      Json last = frame("chat.completion.chunk");
      last["choices"] = Json::array();
      last["usage"] = usage_json(finished->usage, all_.thinking_tokens);
      out += data_line(last);
    }
    return out + kDone;
  }

  std::string_view ping() const override { return kPing; }
  void collect(const StreamEvent& event) override { all_.add(event); }

  std::string whole(const Finished& finished) override {
    std::erase_if(all_.calls, [](const Call& call) { return !call.whole; });
    Json message = {{"role", "assistant"}, {"content", all_.text.empty() && !all_.calls.empty() ? Json() : Json(all_.text)}, {"refusal", nullptr}};
    if (!all_.thinking.empty()) message["reasoning_content"] = all_.thinking;
    for (const Call& call : all_.calls) message["tool_calls"].push_back({{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    Json reply = frame("chat.completion");
    reply["choices"] = Json::array({{{"index", 0}, {"message", message}, {"logprobs", nullptr}, {"finish_reason", finish_reason_of(finished.reason)}}});
    reply["usage"] = usage_json(finished.usage, all_.thinking_tokens);
    return dump(reply);
  }

 private:
  Json frame(const char* object) const { return {{"id", id_}, {"object", object}, {"created", created_s_}, {"model", model_}, {"system_fingerprint", nullptr}}; }

  std::string chunk(Json delta, const char* reason = nullptr) const {
    Json made = frame("chat.completion.chunk");
    made["choices"] = Json::array({{{"index", 0}, {"delta", std::move(delta)}, {"logprobs", nullptr}, {"finish_reason", reason == nullptr ? Json() : Json(reason)}}});
    if (include_usage_) made["usage"] = nullptr;
    return data_line(made);
  }
  std::string call_chunk(Json call) const { return chunk({{"tool_calls", Json::array({std::move(call)})}}); }

  std::string id_;
  std::string model_;
  std::int64_t created_s_;
  bool include_usage_;
  Collected all_;
};

class CompletionWriter final : public AnswerWriter {
 public:
  CompletionWriter(const std::string& id, std::int64_t created_s, const Request& request)
      : id_("cmpl-" + id), model_(request.asked.model), created_s_(created_s), include_usage_(request.include_usage) {}

  std::string events_for(const StreamEvent& event, const std::string&) override {
    if (const auto* text = std::get_if<Text>(&event)) return data_line(frame(text->text, nullptr));
    if (const auto* failed = std::get_if<Failed>(&event)) return error_line(*failed);
    const auto* finished = std::get_if<Finished>(&event);
    if (finished == nullptr) return {};
    std::string out = data_line(frame("", finish_reason_of(finished->reason)));
    if (include_usage_) {
      Json last = frame("", nullptr);
      last["choices"] = Json::array();
      last["usage"] = usage_json(finished->usage, 0);
      out += data_line(last);
    }
    return out + kDone;
  }
  std::string_view ping() const override { return kPing; }
  void collect(const StreamEvent& event) override { all_.add(event); }
  std::string whole(const Finished& finished) override {
    Json reply = frame(all_.text, finish_reason_of(finished.reason));
    reply["usage"] = usage_json(finished.usage, 0);
    return dump(reply);
  }

 private:
  Json frame(const std::string& text, const char* reason) const {
    return {{"id", id_},
            {"object", "text_completion"},
            {"created", created_s_},
            {"model", model_},
            {"choices", Json::array({{{"text", text}, {"index", 0}, {"logprobs", nullptr}, {"finish_reason", reason == nullptr ? Json() : Json(reason)}}})}};
  }

  std::string id_;
  std::string model_;
  std::int64_t created_s_;
  bool include_usage_;
  Collected all_;
};

// Items follow one another; each is added, grows, and is done before the next.
class ResponseWriter final : public AnswerWriter {
 public:
  ResponseWriter(std::string id, std::int64_t created_s, const Request& request)
      : id_(std::move(id)), model_(request.asked.model), created_s_(created_s), echo_(Json::parse(request.echo, nullptr, false)) {}

  std::string events_for(const StreamEvent& event, const std::string&) override {
    std::string out;
    if (std::holds_alternative<Started>(event)) {
      for (const char* name : {"response.created", "response.in_progress"}) out += named(name, {{"response", response("in_progress")}});
    } else if (const auto* failed = std::get_if<Failed>(&event)) {
      out += close();
      Json reply = response("failed");
      reply["error"] = {{"code", "server_error"}, {"message", failed->error.message}};
      out += named("response.failed", {{"response", reply}});
    } else if (const auto* finished = std::get_if<Finished>(&event)) {
      out += close();
      const bool cut = was_cut(finished->reason);
      out += named(cut ? "response.incomplete" : "response.completed", {{"response", ended(*finished)}});
    } else {
      out += grow(event);
    }
    return out;
  }
  std::string_view ping() const override { return kPing; }
  void collect(const StreamEvent& event) override { grow(event); }
  std::string whole(const Finished& finished) override {
    close();
    return dump(ended(finished));
  }

 private:
  static bool was_cut(FinishReason reason) { return reason == FinishReason::max_tokens || reason == FinishReason::model_context_window_exceeded; }

  Json response(const char* status) const {
    Json made = {{"id", "resp_" + id_}, {"object", "response"}, {"created_at", created_s_}, {"status", status}, {"background", false}, {"error", nullptr}, {"incomplete_details", nullptr}, {"model", model_}, {"output", output_}, {"previous_response_id", nullptr}, {"store", false}, {"usage", nullptr}};
    for (const auto& [field, value] : echo_.items()) made[field] = value;
    return made;
  }

  Json ended(const Finished& finished) const {
    const bool cut = was_cut(finished.reason);
    Json made = response(cut ? "incomplete" : "completed");
    if (cut) made["incomplete_details"] = {{"reason", "max_output_tokens"}};
    const Usage& usage = finished.usage;
    made["usage"] = {{"input_tokens", usage.input_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                     {"output_tokens", usage.output_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", thinking_tokens_}}},
                     {"total_tokens", usage.input_tokens + usage.output_tokens}};
    return made;
  }

  std::string named(const char* name, Json data) {
    Json event = {{"type", name}, {"sequence_number", sequence_++}};
    for (auto& [field, value] : data.items()) event[field] = std::move(value);
    return fmt::format("event: {}\ndata: {}\n\n", name, dump(event));
  }

  std::string grow(const StreamEvent& event) {
    if (const auto* text = std::get_if<Text>(&event)) {
      std::string out = open(Kind::message);
      grown_ += text->text;
      return out + named("response.output_text.delta", place({{"content_index", 0}, {"delta", text->text}, {"logprobs", Json::array()}}));
    }
    if (const auto* thought = std::get_if<Thinking>(&event)) {
      std::string out = open(Kind::reasoning);
      grown_ += thought->text;
      thinking_tokens_ += static_cast<std::int32_t>(thought->tokens.size());
      return out + named("response.reasoning_text.delta", place({{"content_index", 0}, {"delta", thought->text}}));
    }
    if (const auto* begun = std::get_if<ToolCallBegun>(&event)) {
      std::string out = close();
      call_ = {begun->id, begun->name, "", false};
      return out + open(Kind::call);
    }
    if (const auto* input = std::get_if<ToolInput>(&event); input != nullptr && open_ == Kind::call) {
      grown_ += input->json;
      return named("response.function_call_arguments.delta", place({{"delta", input->json}}));
    }
    if (std::holds_alternative<ToolCallEnded>(event)) {
      call_.whole = true;
      return close();
    }
    return {};
  }

  enum class Kind { none, message, reasoning, call };

  std::string item_id() const { return fmt::format("{}_{}_{}", open_ == Kind::message ? "msg" : open_ == Kind::call ? "fc" : "rs", id_, output_.size()); }
  Json place(Json data) const {
    data["item_id"] = item_id();
    data["output_index"] = output_.size();
    return data;
  }
  static Json text_part(const std::string& text) { return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}}; }

  Json item(bool done) const {
    const char* status = done ? "completed" : "in_progress";
    switch (open_) {
      case Kind::message: return {{"id", item_id()}, {"type", "message"}, {"status", status}, {"role", "assistant"}, {"content", done ? Json::array({text_part(grown_)}) : Json::array()}};
      case Kind::reasoning: return {{"id", item_id()}, {"type", "reasoning"}, {"summary", Json::array()}, {"content", done ? Json::array({{{"type", "reasoning_text"}, {"text", grown_}}}) : Json::array()}};
      case Kind::call: return {{"id", item_id()}, {"type", "function_call"}, {"status", status}, {"call_id", call_.id}, {"name", call_.name}, {"arguments", done ? grown_ : std::string()}};
      case Kind::none: break;
    }
    return {};
  }

  std::string open(Kind kind) {
    if (open_ == kind) return {};
    std::string out = close();
    open_ = kind;
    out += named("response.output_item.added", {{"output_index", output_.size()}, {"item", item(false)}});
    if (kind == Kind::message) out += named("response.content_part.added", place({{"content_index", 0}, {"part", text_part("")}}));
    return out;
  }

  std::string close() {
    if (open_ == Kind::call && !call_.whole) {  // Cut off: it is never done, for it would be run.
      open_ = Kind::none;
      grown_.clear();
    }
    if (open_ == Kind::none) return {};
    std::string out;
    if (open_ == Kind::message) {
      out += named("response.output_text.done", place({{"content_index", 0}, {"text", grown_}, {"logprobs", Json::array()}}));
      out += named("response.content_part.done", place({{"content_index", 0}, {"part", text_part(grown_)}}));
    } else if (open_ == Kind::reasoning) {
      out += named("response.reasoning_text.done", place({{"content_index", 0}, {"text", grown_}}));
    } else {
      out += named("response.function_call_arguments.done", place({{"name", call_.name}, {"arguments", grown_}}));
    }
    Json done = item(true);
    out += named("response.output_item.done", {{"output_index", output_.size()}, {"item", done}});
    output_.push_back(std::move(done));
    open_ = Kind::none;
    grown_.clear();
    return out;
  }

  std::string id_;
  std::string model_;
  std::int64_t created_s_;
  Json echo_;
  Json output_ = Json::array();
  Kind open_ = Kind::none;
  std::string grown_;  // Of the open item.
  Call call_;
  std::int32_t thinking_tokens_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace

std::unique_ptr<AnswerWriter> chat_writer(const std::string& id, std::int64_t created_s, const Request& request) { return std::make_unique<ChatWriter>(id, created_s, request); }
std::unique_ptr<AnswerWriter> completion_writer(const std::string& id, std::int64_t created_s, const Request& request) { return std::make_unique<CompletionWriter>(id, created_s, request); }
std::unique_ptr<AnswerWriter> response_writer(const std::string& id, std::int64_t created_s, const Request& request) { return std::make_unique<ResponseWriter>(id, created_s, request); }

}  // namespace pensieve::openai
