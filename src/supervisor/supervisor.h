// Starts the worker process, watches it, starts it again when it dies; carries
// requests down and events up.
//
//   Owns     the child process and its pipes; the routing of events to sinks, not
//            the sinks.
//   Threads  the I/O thread.
// A request outlives its worker: when one dies, the next one is given what was asked
// and what was already said, and the answer goes on (docs/resuming.md).
//
//   Errors   every request given to accept() gets exactly one Finished or
//            Failed, also when the worker dies or hangs (Watchdog). What follows
//            a death is RestartPolicy's to say. A worker that says that it cannot
//            load its model is not started again; status() then says why.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "core/stream_event.h"
#include "metrics/metrics.h"
#include "platform/child_process.h"
#include "platform/worker_group.h"
#include "supervisor/restart_policy.h"
#include "supervisor/watchdog.h"
#include "wire/frames.h"

namespace pensieve {

struct SupervisorOptions {
  std::vector<std::string> worker_argv;
  std::chrono::seconds ready_wait_max{120};  // How long a request waits for a worker that is loading; see until_ready().
  std::chrono::milliseconds stall_timeout{60000};  // No step finished for so long while work is due: it hangs.
  RestartOptions restarts;
  WorkerGroup* group = nullptr;  // Each worker joins it; null: none. Must outlive the supervisor.
};

enum class WorkerState { starting, loading, ready, backoff, asleep, parked, reloading, failed, stopped };
const char* name_of(WorkerState state);

struct WorkerStatus {
  WorkerState state = WorkerState::starting;
  pid_t pid = -1;
  double load_progress = 0;
  std::uint64_t restarts = 0;
  std::string last_death;   // In words; empty: none yet.
  std::string engine_version;
  wire::KvFacts kv;         // As it said last.
  std::uint64_t resumed = 0;  // Requests handed to another worker, all together.
  std::optional<wire::Ready> ready;  // Of the worker that runs, or of the last that did.
  std::string problem;               // Why it is not ready, for a human; empty when there is none.
  Pace pace;                         // As it measured it.
  bool in_group = false;             // It is in the control group of SupervisorOptions.
  std::string change_problem;        // Why the model that was asked for last is not the one that runs; empty: it is.
};

class Supervisor {
 public:
  Supervisor(boost::asio::io_context& io, SupervisorOptions options, Metrics& metrics);
  ~Supervisor();

  void start();
  boost::asio::awaitable<void> stop();  // Ends the worker: asks, then insists.

  const WorkerStatus& status() const { return status_; }
  std::size_t recent_deaths() const { return policy_.deaths(SteadyClock::now()); }  // Within the window of RestartOptions.
  bool degraded() const { return policy_.degraded(SteadyClock::now()); }  // It died often of late.
  RequestId new_id() { return RequestId{++last_id_}; }

  // Replaces the worker: the same program and flags, as they are on disk now. What is open goes on in the new one.
  void reload();
  // Another worker's command line, of another model. What is open ends in the old worker first, however long that takes;
  // what comes meanwhile waits in until_ready(). If the new one does not come up, the one before does again, and status().change_problem
  // says why, after `undo` was called. Errors: unavailable when there is no worker that is ready.
  Result<void> change(std::vector<std::string> worker_argv, std::function<void()> undo);
  void refuse_change(std::string why) { status_.change_problem = std::move(why); }
  // Grows with every other model: what was counted in one epoch is not of the next one's vocabulary.
  std::uint64_t epoch() const { return epoch_; }
  // Ends the worker and starts none: asleep until the next request, or parked until unpark().
  void sleep();
  void park(std::string why);
  void unpark();
  void give_up_open(const std::string& why);  // What a parked worker had does not wait any longer.
  // How long nothing was asked of the worker; zero while something is.
  SteadyClock::duration idle_for() const;
  void tell_memory(std::string level);  // Now, and to every worker to come.

  // Wakes a worker that sleeps. Errors: unavailable when none comes up within SupervisorOptions::ready_wait_max. While the
  // model is changed that time begins anew with each event of the streams that end first, and with each load.
  boost::asio::awaitable<Result<void>> until_ready();
  // For one who waits since `begun` and has something to say meanwhile: false when `at_most` went by.
  boost::asio::awaitable<Result<bool>> until_ready(TimePoint begun, std::chrono::milliseconds at_most);
  // What is open ends in the old worker before another model is loaded.
  bool drains() const { return next_argv_.has_value(); }
  // Renders and tokenises, with the ids.
  boost::asio::awaitable<Result<wire::Counted>> count(Prompt prompt, bool wants_tokens);

  // Says no to a request that ended two workers; ask before anything is promised.
  Result<void> may_run(const ModelRequest& request) const;
  // `sink` must live until its last event or until release().
  void accept(ModelRequest request, EventSink& sink);
  void release(RequestId id);  // The sink goes away: cancels what still runs, and forgets it.
  void pause(RequestId id);
  void resume(RequestId id);

 private:
  struct Link;  // One worker's life.
  struct PendingCount {
    explicit PendingCount(const boost::asio::any_io_executor& executor) : wake(executor) {}
    boost::asio::steady_timer wake;
    wire::Count command;
    std::optional<Result<wire::Counted>> answer;
  };

  // A request that the worker has, or the next one will get. Its journal: what was
  // asked, and every token that was sampled for it, noted before the event that
  // carries it goes on to the client.
  struct Open {
    EventSink* sink = nullptr;
    RequestKey key{};
    ModelRequest request;               // What it says was answered (`said` and `events_to_skip`, or `done`) grows with the answer.
    std::optional<Started> started;     // As the client was told; a second worker's is not passed on.
    std::int64_t position = 0;          // Tokens read and said.
    bool paused = false;
  };
  struct End {  // Of a worker.
    std::string cause;  // As in the metric: exit, signal, stall, garbage, fatal, asleep, parked, reloading.
    std::string why;    // For a human.
    bool hopeless = false;      // Another would end in the same way.
    bool from_outside = false;  // A SIGKILL that was not ours.
    bool had_requests = false;  // It had come so far as to be given some.
  };

  boost::asio::awaitable<void> run();
  boost::asio::awaitable<void> read_reports(std::shared_ptr<Link> link);
  boost::asio::awaitable<void> read_log(std::shared_ptr<Link> link);
  boost::asio::awaitable<void> write_commands(std::shared_ptr<Link> link);
  boost::asio::awaitable<void> watch(std::shared_ptr<Link> link);
  boost::asio::awaitable<End> wait_for_end(std::shared_ptr<Link> link);
  void handle(wire::Report report);
  void handle_event(wire::Event event);
  bool note(Open& open, StreamEvent& event);
  void hand_over();
  bool work_is_due() const;
  RestartPolicy::Verdict account_for(const End& end);
  void settle_open(const End& end);
  boost::asio::awaitable<void> until_wanted();
  void end_worker(WorkerState state, std::string why);
  void change_when_drained();
  void go_back();
  boost::asio::awaitable<void> insist(std::shared_ptr<Link> link);
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
  std::map<RequestId, Open> open_;
  std::map<RequestId, std::shared_ptr<PendingCount>> counts_;
  std::deque<std::string> log_lines_;
  RestartPolicy policy_;
  std::mt19937_64 random_{std::random_device{}()};  // Seeds of requests that bring none.
  bool wanted_ = true;  // False: asleep or parked.
  std::optional<std::vector<std::string>> next_argv_;  // Of the change that waits for what is open.
  std::optional<std::vector<std::string>> exact_argv_; // With which the self-check saw nothing that differs.
  std::optional<std::vector<std::string>> last_argv_;  // To go back to, until the changed worker is ready.
  std::function<void()> undo_change_;
  TimePoint change_came_on_{};  // The last sign that the change of model comes on.
  std::uint64_t epoch_ = 0;
  std::string memory_level_ = "safe";
  TimePoint last_use_ = SteadyClock::now();
  bool stopping_ = false;
  std::uint64_t last_id_ = 0;
  std::uint64_t group_kills_ = 0;  // Those of workers before this one.
};

}  // namespace pensieve
