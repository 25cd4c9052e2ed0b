#include "metrics/metrics.h"

#include <prometheus/text_serializer.h>

namespace pensieve {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

prometheus::Counter& counter(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}
prometheus::Gauge& gauge(prometheus::Registry& registry, const char* name, const char* help, const prometheus::Labels& labels = {}) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
}
prometheus::Histogram& histogram(prometheus::Registry& registry, const char* name, const char* help, const Buckets& buckets) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
}

prometheus::Family<prometheus::Counter>& request_family(prometheus::Registry& registry) {
  return prometheus::BuildCounter().Name("llm_requests_total").Help("Requests to generate that have ended, by outcome").Register(registry);
}

prometheus::Family<prometheus::Counter>& restart_family(prometheus::Registry& registry) {
  return prometheus::BuildCounter().Name("pensieve_worker_restarts_total").Help("Times the model process was started again, by cause").Register(registry);
}

}  // namespace

Metrics::Metrics() : Metrics(std::make_shared<prometheus::Registry>()) {}

Metrics::Metrics(std::shared_ptr<prometheus::Registry> r)
    : prompt_tokens(counter(*r, "llm_prompt_tokens_total", "Prompt tokens read")),
      output_tokens(counter(*r, "llm_output_tokens_total", "Tokens generated")),
      requests_resumed(counter(*r, "pensieve_requests_resumed_total", "Requests that went on in another worker after theirs had died")),
      running(gauge(*r, "llm_requests_running", "Requests that hold a slot")),
      waiting(gauge(*r, "llm_requests_waiting", "Requests in the waiting line")),
      server_pss_bytes(gauge(*r, "pensieve_memory_pss_bytes", "Proportional set size", {{"process", "server"}})),
      worker_pss_bytes(gauge(*r, "pensieve_memory_pss_bytes", "Proportional set size", {{"process", "worker"}})),
      tokens_from_slots(gauge(*r, "pensieve_kv_reused_tokens", "Prompt tokens not computed again, since the worker's start, by where they lay", {{"from", "slot"}})),
      tokens_from_store(gauge(*r, "pensieve_kv_reused_tokens", "Prompt tokens not computed again, since the worker's start, by where they lay", {{"from", "store"}})),
      answers_recognised(gauge(*r, "pensieve_answers_recognised", "Earlier answers in prompts that were taken as they had been sampled, since the worker's start")),
      store_bytes(gauge(*r, "pensieve_store_bytes", "Bytes of the block store")),
      store_blocks_set_aside(gauge(*r, "pensieve_store_blocks_set_aside", "Damaged blocks found since the worker's start")),
      tree_anonymous_bytes(gauge(*r, "pensieve_memory_bytes", "PSS of server and worker together, by kind", {{"kind", "anonymous"}})),
      tree_file_bytes(gauge(*r, "pensieve_memory_bytes", "PSS of server and worker together, by kind", {{"kind", "file"}})),
      memory_budget_bytes(gauge(*r, "pensieve_memory_budget_bytes", "What may be committed")),
      memory_committed_bytes(gauge(*r, "pensieve_memory_committed_bytes", "What is committed: the plan's standing part and the requests' reservations")),
      memory_available_bytes(gauge(*r, "pensieve_memory_available_bytes", "What the machine, or the control group, has left")),
      kv_given_back_bytes(gauge(*r, "pensieve_kv_given_back_bytes", "Memory of free slots that was given back to the system, because it is short of it")),
      memory_alarms(counter(*r, "pensieve_memory_alarms_total", "Times the system said that tasks wait for memory")),
      memory_level(gauge(*r, "pensieve_memory_level", "0 safe, 1 caution, 2 warning, 3 critical, 4 emergency")),
      time_to_first_token(histogram(*r, "llm_time_to_first_token_seconds", "Request read in full to first token written",
                                    {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300})),
      first_token_ratio(histogram(*r, "pensieve_time_to_first_token_ratio", "Time to first token to what was predicted at admission",
                                  {0.25, 0.5, 0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 4})),
      time_between_tokens(histogram(*r, "llm_time_between_tokens_seconds", "Between two token events of one stream",
                                    {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5})),
      token_to_socket(histogram(*r, "pensieve_token_to_socket_seconds", "Token sampled in the worker to written to the client's socket",
                                {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.1, 1})),
      registry_(std::move(r)) {
  for (const char* outcome : {"complete", "error", "overloaded", "invalid", "cancelled"}) requests(outcome);
  for (const char* level : {"safe", "caution", "warning", "critical", "emergency"}) memory_changes(level);
  for (const char* level : {"warning", "critical", "emergency"}) memory_refusals(level);
  for (const char* what : {"billing_line", "dropped_tool", "merged_turn", "system_inside", "unknown_block", "unseen_block"}) normalised(what);
  for (const char* cause : {"exit", "signal", "stall", "garbage", "fatal", "asleep", "parked", "reloading"}) worker_restarts(cause);
}

prometheus::Counter& Metrics::requests(const std::string& outcome) { return request_family(*registry_).Add({{"outcome", outcome}}); }
prometheus::Counter& Metrics::worker_restarts(const std::string& cause) { return restart_family(*registry_).Add({{"cause", cause}}); }

prometheus::Counter& Metrics::memory_changes(const std::string& to) {
  return prometheus::BuildCounter().Name("pensieve_memory_level_changes_total").Help("Changes of the memory level, by the level entered").Register(*registry_).Add({{"to", to}});
}

prometheus::Counter& Metrics::memory_refusals(const std::string& level) {
  return prometheus::BuildCounter().Name("pensieve_memory_refused_total").Help("Requests refused because the machine is short of memory, by its level").Register(*registry_).Add({{"level", level}});
}

prometheus::Counter& Metrics::normalised(const std::string& what) {
  return prometheus::BuildCounter().Name("pensieve_requests_normalised_total").Help("What was changed in requests on their way in").Register(*registry_).Add({{"what", what}});
}

std::string Metrics::text() const { return prometheus::TextSerializer().Serialize(registry_->Collect()); }

}  // namespace pensieve
