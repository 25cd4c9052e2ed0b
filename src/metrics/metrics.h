// The server's counters, and their Prometheus text. Names and meanings are in
// docs/metrics.md.
//
//   Owns     all metrics.
//   Threads  any (prometheus-cpp locks inside).
#pragma once

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace pensieve {

class Metrics {
 public:
  Metrics();

  // Ends of requests, by outcome: complete, error, overloaded, invalid, cancelled.
  prometheus::Counter& requests(const std::string& outcome);
  // Workers started again, by what ended the one before: exit, signal, stall, garbage, fatal, asleep, parked.
  prometheus::Counter& worker_restarts(const std::string& cause);
  // Changes to a memory level, by its name; and requests that were refused at it.
  prometheus::Counter& memory_changes(const std::string& to);
  prometheus::Counter& memory_refusals(const std::string& level);
  // What the API's edge changed in requests; docs/metrics.md lists the names.
  prometheus::Counter& normalised(const std::string& what);
  prometheus::Counter& prompt_tokens;
  prometheus::Counter& output_tokens;
  prometheus::Counter& requests_resumed;  // Handed to another worker with what was already said.
  prometheus::Gauge& running;
  prometheus::Gauge& waiting;
  prometheus::Gauge& server_pss_bytes;
  prometheus::Gauge& worker_pss_bytes;
  prometheus::Gauge& tokens_from_slots;  // Since the worker's start, as all of the KV cache.
  prometheus::Gauge& tokens_from_store;
  prometheus::Gauge& answers_recognised;
  prometheus::Gauge& store_bytes;
  prometheus::Gauge& store_blocks_set_aside;
  prometheus::Gauge& tree_anonymous_bytes;
  prometheus::Gauge& tree_file_bytes;
  prometheus::Gauge& memory_budget_bytes;
  prometheus::Gauge& memory_committed_bytes;
  prometheus::Gauge& memory_available_bytes;
  prometheus::Gauge& kv_given_back_bytes;  // Of free slots.
  prometheus::Counter& memory_alarms;
  prometheus::Gauge& memory_level;  // 0 safe, 1 caution, 2 warning, 3 critical, 4 emergency.
  prometheus::Histogram& time_to_first_token;  // Request read in full to first token written.
  prometheus::Histogram& first_token_ratio;    // Of that time to what was predicted at admission.
  prometheus::Histogram& time_between_tokens;
  prometheus::Histogram& token_to_socket;      // Sampled in the worker to written to the client's socket.

  std::string text() const;

 private:
  explicit Metrics(std::shared_ptr<prometheus::Registry> registry);
  std::shared_ptr<prometheus::Registry> registry_;
};

}  // namespace pensieve
