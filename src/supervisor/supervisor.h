// Starts the worker process, watches it, starts it again when it dies; carries
// requests down and events up.
//
//   Owns     the child process and its pipes; the routing of events to sinks, not
//            the sinks.
//   Threads  the I/O thread.
//   Errors   every request given to generate() gets exactly one Finished or
//            Failed, also when the worker dies. A worker that dies three times
//            before it is ready, or says that it cannot load its model, is not
//            started again; status() then says why.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/stream_event.h"
#include "metrics/metrics.h"
#include "platform/child_process.h"
#include "wire/frames.h"

namespace pensieve {

struct SupervisorOptions {
  std::vector<std::string> worker_argv;
  std::chrono::seconds ready_wait_max{120};  // How long a request waits for a worker that is loading.
};

enum class WorkerState { starting, loading, ready, backoff, failed, stopped };
const char* name_of(WorkerState state);

struct WorkerStatus {
  WorkerState state = WorkerState::starting;
  pid_t pid = -1;
  double load_progress = 0;
  std::uint64_t restarts = 0;
  std::string engine_version;
  std::optional<wire::Ready> ready;  // Of the worker that runs, or of the last that did.
  std::string problem;               // Why it is not ready, for a human; empty when there is none.
};

class Supervisor {
 public:
  Supervisor(boost::asio::io_context& io, SupervisorOptions options, Metrics& metrics);
  ~Supervisor();

  void start();
  boost::asio::awaitable<void> stop();  // Ends the worker: asks, then insists.

  const WorkerStatus& status() const { return status_; }
  RequestId new_id() { return RequestId{++last_id_}; }

  boost::asio::awaitable<Result<void>> until_ready();
  // Renders and tokenises, with the ids.
  boost::asio::awaitable<Result<wire::Counted>> count(Prompt prompt, bool wants_tokens);

  // `sink` must live until its last event or until release().
  void generate(GenerateRequest request, EventSink& sink);
  void release(RequestId id);  // The sink goes away: cancels what still runs, and forgets it.
  void pause(RequestId id);
  void resume(RequestId id);

 private:
  struct Link;  // One worker's life.
  struct PendingCount {
    explicit PendingCount(const boost::asio::any_io_executor& executor) : wake(executor) {}
    boost::asio::steady_timer wake;
    std::optional<Result<wire::Counted>> answer;
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> read_reports(std::shared_ptr<Link> link);
  boost::asio::awaitable<void> read_log(std::shared_ptr<Link> link);
  boost::asio::awaitable<void> write_commands(std::shared_ptr<Link> link);
  boost::asio::awaitable<std::string> wait_for_end(std::shared_ptr<Link> link);
  void handle(wire::Report report);
  void fail_open(const Error& error);
  void set_state(WorkerState state, std::string problem = {});
  void send(const wire::Command& command);
  std::string last_log_lines() const;

  boost::asio::io_context& io_;
  SupervisorOptions options_;
  Metrics& metrics_;
  WorkerStatus status_;
  boost::asio::steady_timer changed_;  // Never expires; cancelled at each change of state.
  std::shared_ptr<Link> link_;
  std::map<RequestId, EventSink*> sinks_;
  std::map<RequestId, std::shared_ptr<PendingCount>> counts_;
  std::deque<std::string> log_lines_;
  std::string fatal_;
  int deaths_before_ready_ = 0;
  bool stopping_ = false;
  std::uint64_t last_id_ = 0;
};

}  // namespace pensieve
