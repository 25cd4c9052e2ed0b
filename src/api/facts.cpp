// What the server tells of itself and of its model: /health, /metrics, /v1/models, the
// line of figures in the log. Nothing here changes anything but gauges.
#include <fmt/format.h>
#include <unistd.h>

#include <cctype>
#include <nlohmann/json.hpp>

#include "api/anthropic/errors.h"
#include "api/api.h"
#include "api/json_reply.h"
#include "base/version.h"
#include "platform/memory.h"

namespace pensieve {
using anthropic::error_reply;
using Json = nlohmann::ordered_json;

namespace {

Json kv_json(const WorkerStatus& worker) {
  if (!worker.ready) return Json();
  const wire::KvFacts& kv = worker.kv;
  const std::string& why_off = worker.ready->store_problem;
  const std::string& why_not_written = kv.store_problem;
  // null: not tried yet.
  const Json exact = !worker.ready->exact ? Json(false) : kv.exact_tried ? Json(kv.exact_differs.empty()) : Json();
  const std::string why_not_exact = worker.ready->exact ? kv.exact_differs : "--exact off, or a model whose state cannot be moved";
  return {{"exact", exact},
          {"exact_problem", why_not_exact.empty() ? Json() : Json(why_not_exact)},
          {"tokens_from_slots", kv.tokens_from_slots},
          {"tokens_from_store", kv.tokens_from_store},
          {"answers_recognised", kv.answers_recognised},
          {"store",
           {{"folder", worker.ready->store.empty() ? Json() : Json(worker.ready->store)},
            {"problem", !why_off.empty() ? Json(why_off) : why_not_written.empty() ? Json() : Json(why_not_written)},
            {"blocks", kv.store_blocks},
            {"bytes", kv.store_bytes},
            {"blocks_written", kv.store_blocks_written},
            {"blocks_read", kv.store_blocks_read},
            {"blocks_evicted", kv.store_blocks_evicted},
            {"blocks_set_aside", kv.store_blocks_set_aside},
            {"bytes_written_today", kv.store_bytes_written_today},
            {"pending", kv.store_pending}}}};
}

ProcessMemory memory_of(pid_t pid) { return pid < 0 ? ProcessMemory{} : process_memory(pid).value_or(ProcessMemory{}); }
ProcessMemory sum(const ProcessMemory& a, const ProcessMemory& b) {
  return {a.rss_bytes + b.rss_bytes, a.pss_bytes + b.pss_bytes, a.anonymous_bytes + b.anonymous_bytes, a.file_bytes + b.file_bytes};
}

}  // namespace

// The loaded model under a name that Claude Code's discovery lists ("claude-...", no slash).
std::string Api::model_id() const {
  std::string id = "claude-local-";
  const std::string name = supervisor_.status().ready ? supervisor_.status().ready->model.name : "model";
  for (const char c : name) {
    const auto lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    id.push_back(std::isalnum(static_cast<unsigned char>(lower)) != 0 || lower == '.' ? lower : '-');
  }
  return id;
}

// Changes when another model is loaded in this one's place.
std::string Api::loaded_model() const {
  const auto& ready = supervisor_.status().ready;
  return ready ? fmt::format("{} of {} bytes", ready->model.name, ready->model.file_bytes) : std::string();
}

http::Reply Api::models(const http::Request& request) const {
  if (!supervisor_.status().ready) return error_reply(503, "the model is still loading", request.id);
  const http::Reply one = model(request, model_id());
  const Json entry = Json::parse(one.body);
  return json_reply({{"object", "list"}, {"data", Json::array({entry})}, {"has_more", false}, {"first_id", model_id()}, {"last_id", model_id()}});
}

http::Reply Api::model(const http::Request& request, const std::string& id) const {
  const auto& ready = supervisor_.status().ready;
  if (!ready) return error_reply(503, "the model is still loading", request.id);
  if (id != model_id() && id != ready->model.name) {
    return error_reply(404, fmt::format("model: '{}' is not known; GET /v1/models lists the loaded one (POST /v1/messages takes any name)", id), request.id);
  }
  const auto no = [] { return Json{{"supported", false}}; };
  const Json yes = {{"supported", true}};
  const bool embeds = ready->vector_size > 0;
  // Both kinds of clients find their fields: `object`, `created` and `owned_by` are OpenAI's.
  return json_reply({{"id", model_id()},
                     {"type", "model"},
                     {"object", "model"},
                     {"created", 0},
                     {"owned_by", "pensieve"},
                     {"display_name", ready->model.name},
                     {"created_at", "1970-01-01T00:00:00Z"},
                     {"lifecycle", "active"},
                     {"line", nullptr},
                     {"deprecated_at", nullptr},
                     {"retires_at", nullptr},
                     {"max_input_tokens", embeds ? ready->context_tokens : ready->context_tokens - 1},
                     {"max_tokens", embeds ? 0 : ready->context_tokens - 1},
                     {"capabilities",
                      {{"batch", batches_ != nullptr && !embeds ? yes : no()}, {"citations", no()}, {"code_execution", no()}, {"image_input", ready->sees ? yes : no()}, {"pdf_input", sources_ != nullptr && !embeds ? yes : no()},
                       {"server_tools", no()}, {"structured_outputs", embeds ? no() : yes}, {"thinking", ready->thinks ? yes : no()}, {"embeddings", embeds ? Json{{"supported", true}, {"dimensions", ready->vector_size}} : no()}}}});
}

http::Reply Api::health(const http::Request&) const {
  const WorkerStatus& worker = supervisor_.status();
  const bool ready = worker.state == WorkerState::ready;
  ProcessMemory tree;
  for (const pid_t pid : {::getpid(), worker.pid}) tree = sum(tree, memory_of(pid));
  const bool asleep = worker.state == WorkerState::asleep;
  const auto& machine = gate_.memory();
  Json model;
  if (worker.ready) {
    model = {{"name", worker.ready->model.name},
             {"architecture", worker.ready->model.architecture},
             {"kind", worker.ready->vector_size > 0 ? "embedding" : "generating"},
             {"parameters", worker.ready->model.parameters},
             {"file_bytes", worker.ready->model.file_bytes},
             {"context_tokens", worker.ready->context_tokens},
             {"context_trained", worker.ready->model.context_trained},
             {"kv_bytes", worker.ready->kv_bytes},
             {"chat_template", worker.ready->chat_template},
             {"tool_syntax", worker.ready->tool_syntax},
             {"backends", worker.ready->backends}};
    if (worker.ready->vector_size > 0) {
      model["vector_size"] = worker.ready->vector_size;
      model["pooling"] = worker.ready->pooling;
    }
  }
  return json_reply({{"status", !ready ? name_of(worker.state) : gate_.accepting() ? "ok" : "short_of_memory"},
                     {"live", true},
                     {"ready", ready},
                     {"problem", worker.problem.empty() ? Json() : Json(worker.problem)},
                     {"version", kVersion},
                     {"pid", ::getpid()},
                     {"engine_version", worker.engine_version},
                     {"model", model},
                     {"memory",
                      {{"status", name_of(gate_.level())},
                       {"available_gb", machine ? Json(static_cast<double>(machine->available_bytes) / 1e9) : Json()},
                       {"pressure_percent", machine ? Json(machine->pressure_percent) : Json()},
                       {"in_control_group", machine ? Json(machine->limited_by_group) : Json()},
                       {"budget_bytes", ledger_.budget_bytes()},
                       {"committed_bytes", ledger_.committed_bytes()},
                       {"reserved_bytes", ledger_.reserved_bytes()},
                       {"accepting_requests", gate_.accepting() && (ready || asleep)},
                       {"level_changes", gate_.changes()},
                       {"alarms", gate_.alarms()},
                       {"actions", actions_at(gate_.level())},
                       {"kv_given_back_bytes", worker.kv.bytes_given_back},
                       {"tree_pss_bytes", tree.pss_bytes},
                       {"anonymous_bytes", tree.anonymous_bytes},
                       {"file_bytes", tree.file_bytes}}},
                     {"plan", Json::parse(options_.plan_json, nullptr, false)},
                     {"kv", kv_json(worker)},
                     {"slots", {{"total", line_.slots()}, {"running", line_.running()}}},
                     {"queue", {{"max", line_.queue_max()}, {"waiting", line_.waiting()}}},
                     {"worker",
                      {{"pid", worker.pid < 0 ? Json() : Json(worker.pid)},
                       {"state", name_of(worker.state)},
                       {"load_progress", worker.load_progress},
                       {"restarts", worker.restarts},
                       {"requests_resumed", worker.resumed},
                       {"degraded", supervisor_.degraded()},
                       {"cap", Json::parse(options_.cap_json, nullptr, false)},
                       {"in_group", worker.in_group},
                       {"recent_deaths", supervisor_.recent_deaths()},
                       {"change_problem", worker.change_problem.empty() ? Json() : Json(worker.change_problem)},
                       {"last_death", worker.last_death.empty() ? Json() : Json(worker.last_death)}}}},
                    ready || asleep ? 200 : 503);
}

void Api::refresh_metrics() const {
  metrics_.running.Set(static_cast<double>(line_.running()));
  metrics_.waiting.Set(static_cast<double>(line_.waiting()));
  const ProcessMemory server = memory_of(::getpid());
  const ProcessMemory worker = memory_of(supervisor_.status().pid);
  metrics_.server_pss_bytes.Set(static_cast<double>(server.pss_bytes));
  metrics_.worker_pss_bytes.Set(static_cast<double>(worker.pss_bytes));
  metrics_.tree_anonymous_bytes.Set(static_cast<double>(server.anonymous_bytes + worker.anonymous_bytes));
  metrics_.tree_file_bytes.Set(static_cast<double>(server.file_bytes + worker.file_bytes));
  metrics_.memory_budget_bytes.Set(static_cast<double>(ledger_.budget_bytes()));
  metrics_.memory_committed_bytes.Set(static_cast<double>(ledger_.committed_bytes()));
  if (gate_.memory()) metrics_.memory_available_bytes.Set(static_cast<double>(gate_.memory()->available_bytes));
  metrics_.memory_level.Set(static_cast<double>(gate_.level()));
  const wire::KvFacts& kv = supervisor_.status().kv;
  metrics_.tokens_from_slots.Set(static_cast<double>(kv.tokens_from_slots));
  metrics_.tokens_from_store.Set(static_cast<double>(kv.tokens_from_store));
  metrics_.kv_given_back_bytes.Set(static_cast<double>(kv.bytes_given_back));
  metrics_.answers_recognised.Set(static_cast<double>(kv.answers_recognised));
  metrics_.store_bytes.Set(static_cast<double>(kv.store_bytes));
  metrics_.store_blocks_set_aside.Set(static_cast<double>(kv.store_blocks_set_aside));
}

std::string Api::figures() const {
  const ProcessMemory server = memory_of(::getpid());
  const ProcessMemory worker = memory_of(supervisor_.status().pid);
  const Json line = {{"requests_ended", ended_},
                     {"running", line_.running()},
                     {"waiting", line_.waiting()},
                     {"slot_seconds", line_.service_seconds()},
                     {"memory_level", name_of(gate_.level())},
                     {"available_bytes", gate_.memory() ? Json(gate_.memory()->available_bytes) : Json()},
                     {"budget_bytes", ledger_.budget_bytes()},
                     {"committed_bytes", ledger_.committed_bytes()},
                     {"tree_pss_bytes", server.pss_bytes + worker.pss_bytes},
                     {"worker_pss_bytes", worker.pss_bytes},
                     {"worker_anonymous_bytes", worker.anonymous_bytes},
                     {"worker_file_bytes", worker.file_bytes},
                     {"worker_state", name_of(supervisor_.status().state)},
                     {"worker_restarts", supervisor_.status().restarts}};
  return line.dump();
}

http::Reply Api::metrics_text() const {
  refresh_metrics();
  http::Reply reply;
  reply.content_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.body = metrics_.text();
  return reply;
}

}  // namespace pensieve
