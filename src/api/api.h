// The server's endpoints: which path does what. Joins HTTP, the waiting line and
// the supervisor; the shapes themselves are in api/anthropic/.
//
//   Owns     nothing; all parts it is given must outlive it.
//   Threads  the I/O thread.
//   Errors   everything that can refuse a request is decided before the first
//            byte of its 200. Afterwards an error is an SSE `error` event. But for
//            a stream that comes while another model is waited for: see stream_answer().
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>

#include <string>

#include "admission/forecast.h"
#include "admission/memory_gate.h"
#include "admission/places.h"
#include "admission/promises.h"
#include "admission/waiting_line.h"
#include "api/answer.h"
#include "api/anthropic/batches.h"
#include "api/anthropic/messages_request.h"
#include "api/anthropic/prompt_marks.h"
#include "budget/ledger.h"
#include "documents/sources.h"
#include "http/exchange.h"
#include "metrics/metrics.h"
#include "supervisor/supervisor.h"

namespace pensieve {

struct ApiOptions {
  std::string api_key;  // Empty: none is asked for.
  std::chrono::milliseconds ping_every{10000};
  bool client_rules = true;  // Rules for particular clients: see anthropic/messages_request.h.
  std::chrono::milliseconds memory_wait_max{30000};  // After the line, for memory; then it is refused after all.
  std::string plan_json = "null";                    // For /health: the sum that was made at start.
  std::string cap_json = "null";                     // For /health: what the system holds the worker to.
};

// What decides whether a request may enter, for every endpoint that generates.
struct Entrance {
  WaitingLine& line;
  MemoryGate& gate;
  Ledger& ledger;
  Forecast& forecast;
  Promises& promises;
};

class Api {
 public:
  Api(boost::asio::io_context& io, ApiOptions options, Entrance entrance, Supervisor& supervisor, Metrics& metrics);

  boost::asio::awaitable<void> handle(http::Exchange& exchange);
  boost::asio::awaitable<void> messages(http::Exchange& exchange);  // POST /v1/messages, past all checks of the way there.
  void serve_batches(anthropic::Batches& batches) { batches_ = &batches; }  // Without: 404. Must outlive this.
  const std::string& plan() const { return options_.plan_json; }
  void set_plan(std::string plan_json) { options_.plan_json = std::move(plan_json); }  // Another model is loaded.
  void read_sources(Sources& sources) { sources_ = &sources; }  // Without: documents are text, or a 400. Must outlive this.
  void refresh_metrics() const;       // The gauges that are read, not counted.
  std::string figures() const;        // One line of JSON for the log.
  std::uint64_t ended() const { return ended_; }  // Requests to generate that got an answer.

 private:
  struct Run;  // One request to generate, from its place in the line to its last byte.

  // A place in the line and memory for it, or the refusal.
  struct Entry {
    WaitingLine::Place place;
    Ledger::Reservation memory;
  };
  Result<Entry> enter(const http::Request& request);
  // Says no, and where it is for now, when to come again. `key`: what asked, where it is told when there will be a place for it. Without: it
  // is memory that is missing.
  http::Reply refusal(const Dialect& dialect, const Error& error, const std::string& request_id, std::optional<BodyKey> key = {});
  // True when there is memory again; false when the wait was too long.
  boost::asio::awaitable<bool> until_memory(http::Exchange& exchange, Run& run, bool pings);
  bool key_is_right(const http::Request& request) const;
  // Runs one request of any dialect, from its place in the line to its last byte.
  boost::asio::awaitable<void> generate(http::Exchange& exchange, const Dialect& dialect, Asked asked, std::unique_ptr<AnswerWriter> writer);
  bool may_see() const;
  // The body as a request, its documents read.
  boost::asio::awaitable<Result<anthropic::MessagesRequest>> read_request(const http::Exchange& exchange, anthropic::Endpoint endpoint);
  boost::asio::awaitable<Result<Document>> read_source(anthropic::UnreadSource source, bool sees, std::uint64_t held);
  static bool is_openai(std::string_view path);
  boost::asio::awaitable<void> openai(http::Exchange& exchange);  // api/openai/endpoints.cpp
  boost::asio::awaitable<void> embeddings(http::Exchange& exchange);
  boost::asio::awaitable<void> count_tokens(http::Exchange& exchange);
  boost::asio::awaitable<void> stream_answer(http::Exchange& exchange, Run& run);
  boost::asio::awaitable<void> whole_answer(http::Exchange& exchange, Run& run);
  void note_written(Run& run, const StreamEvent& event);
  void note_forecast(const Run& run, TimePoint now);
  void note_normalised(const anthropic::MessagesRequest& asked, const std::string& id);
  void note_end(const StreamEvent& event);
  http::Reply get_reply(const http::Request& request) const;
  http::Reply models(const http::Request& request) const;
  http::Reply model(const http::Request& request, const std::string& id) const;
  http::Reply health(const http::Request& request) const;
  http::Reply metrics_text() const;
  std::string model_id() const;
  std::string loaded_model() const;
  // The worker is there, and the prompt is in its model's tokens: another one may have been loaded meanwhile.
  boost::asio::awaitable<Result<void>> until_ready(http::Exchange& exchange, Run& run, bool pings);
  Result<void> take_up(Run& run, wire::Counted counted);
  Result<void> take_up_inputs(Run& run, wire::Counted counted, const wire::Ready& ready);

  boost::asio::io_context& io_;
  ApiOptions options_;
  WaitingLine& line_;
  MemoryGate& gate_;
  Ledger& ledger_;
  Forecast& forecast_;
  Promises& promises_;
  anthropic::PromptMemory prompts_;
  Supervisor& supervisor_;
  Metrics& metrics_;
  anthropic::Batches* batches_ = nullptr;
  Sources* sources_ = nullptr;
  mutable std::uint64_t ended_ = 0;
};

}  // namespace pensieve
