// Up to the server: frames.h, Report.
#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <span>

#include "base/base64.h"
#include "wire/frame_line.h"

namespace pensieve::wire {
namespace {

constexpr std::pair<const char*, FinishReason> kFinishReasons[] = {
    {"end_turn", FinishReason::end_turn},
    {"max_tokens", FinishReason::max_tokens},
    {"stop_sequence", FinishReason::stop_sequence},
    {"tool_use", FinishReason::tool_use},
    {"model_context_window_exceeded", FinishReason::model_context_window_exceeded},
    {"cancelled", FinishReason::cancelled},
};

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
  for (const std::string& hash : reader.texts("logit_hashes")) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(hash.data(), hash.data() + hash.size(), value, 16);
    if (error != std::errc() || end != hash.data() + hash.size()) reader.fail("logit_hashes", "hexadecimal numbers");
    finished.logit_hashes.push_back(value);
  }
  finished.prefill_us = reader.integer<std::int64_t>("prefill_us").value_or(0);
  finished.decode_us = reader.integer<std::int64_t>("decode_us").value_or(0);
  return finished;
}

// The numbers' bytes in base64, little-endian: as text they would be three times as long.
std::string text_of(std::span<const float> values) {
  static_assert(std::endian::native == std::endian::little);
  return base64_encode({reinterpret_cast<const char*>(values.data()), values.size_bytes()});
}

std::vector<float> read_values(Reader& reader) {
  const auto bytes = base64_decode(reader.text("values", true));
  if (!bytes || bytes->size() % sizeof(float) != 0) {
    reader.fail("values", "numbers of four bytes in base64");
    return {};
  }
  std::vector<float> values(bytes->size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), bytes->data(), bytes->size());
  return values;
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
  facts.exact_tried = kv.boolean("exact_tried");
  facts.exact_differs = kv.text("exact_differs");
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
  ready.sees = reader.boolean("sees");
  ready.proof = reader.text("proof");
  ready.vector_size = reader.integer<std::int32_t>("vector_size").value_or(0);
  ready.pooling = reader.text("pooling");
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

}  // namespace

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
                      {"store_problem", ready.store_problem},
                      {"sees", ready.sees},
                      {"proof", ready.proof}};
            if (ready.vector_size != 0) object["vector_size"] = ready.vector_size;
            if (!ready.pooling.empty()) object["pooling"] = ready.pooling;
          },
          [&](const Counted& counted) {
            event_object("counted", counted.id);
            object["input_tokens"] = counted.input_tokens;
            if (!counted.tokens.empty()) object["tokens"] = counted.tokens;
            if (!counted.opening.empty()) object["opening"] = counted.opening;
            if (!counted.origin.empty()) object["origin"] = counted.origin;
            if (!counted.marks.empty()) object["marks"] = counted.marks;
            for (const EmbedInput& input : counted.inputs) object["inputs"].push_back(json_of(input));
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
                           [&](const Embedded& embedded) {
                             event_object("embedded", event.id);
                             object["index"] = embedded.index;
                             object["values"] = text_of(embedded.values);
                             object["done_tokens"] = embedded.done_tokens;
                             object["total_tokens"] = embedded.total_tokens;
                           },
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
                             // As text: JSON's readers have 53 bits for a number.
                             for (const std::uint64_t hash : finished.logit_hashes) object["logit_hashes"].push_back(fmt::format("{:016x}", hash));
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
            kv["exact_tried"] = health.kv.exact_tried;
            kv["exact_differs"] = health.kv.exact_differs;
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
    report = Counted{reader.id(), reader.integer<std::int32_t>("input_tokens", true).value_or(0), reader.tokens("tokens"), reader.text("opening"), reader.text("origin"), reader.tokens("marks"), reader.inputs("inputs")};
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
  } else if (name == "embedded") {
    const RequestId id = reader.id();
    report = Event{id, Embedded{reader.integer<std::int32_t>("index", true).value_or(0), read_values(reader),
                                reader.integer<std::int32_t>("done_tokens").value_or(0), reader.integer<std::int32_t>("total_tokens").value_or(0)}};
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
