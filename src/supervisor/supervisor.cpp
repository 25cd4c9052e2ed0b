#include "supervisor/supervisor.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <iostream>

#include "base/clock.h"
#include "base/log.h"

namespace pensieve {
namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;

namespace {

constexpr int kDeathsBeforeReadyMax = 3;
constexpr std::size_t kLogLinesKept = 20;
constexpr auto kStopPatience = 2s;
constexpr const char* kStopping = "the server is stopping";

awaitable<void> sleep_for(asio::io_context& io, std::chrono::milliseconds span) {
  asio::steady_timer timer(io, span);
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

}  // namespace

const char* name_of(WorkerState state) {
  switch (state) {
    case WorkerState::starting: return "starting";
    case WorkerState::loading: return "loading";
    case WorkerState::ready: return "ready";
    case WorkerState::backoff: return "backoff";
    case WorkerState::failed: return "failed";
    case WorkerState::stopped: return "stopped";
  }
  return "";
}

struct Supervisor::Link {
  Link(asio::io_context& io, ChildProcess spawned)
      : child(std::move(spawned)), in(io, child.release_stdin()), out(io, child.release_stdout()), err(io, child.release_stderr()), wake(io) {}

  ChildProcess child;
  asio::posix::stream_descriptor in, out, err;
  asio::steady_timer wake;  // Cancelled when there is something to write.
  std::deque<std::string> outgoing;
  bool ended = false;
};

Supervisor::Supervisor(asio::io_context& io, SupervisorOptions options, Metrics& metrics)
    : io_(io), options_(std::move(options)), metrics_(metrics), changed_(io, TimePoint::max()) {}

Supervisor::~Supervisor() = default;

void Supervisor::start() { asio::co_spawn(io_, run(), asio::detached); }

awaitable<void> Supervisor::run() {
  auto backoff = 100ms;
  while (!stopping_) {
    fatal_.clear();
    log_lines_.clear();
    auto spawned = ChildProcess::spawn(options_.worker_argv);
    if (!spawned) {
      set_state(WorkerState::failed, fmt::format("the worker could not be started: {}", spawned.error().message));
      co_return;
    }
    link_ = std::make_shared<Link>(io_, *std::move(spawned));
    status_.pid = link_->child.pid();
    set_state(WorkerState::starting);
    asio::co_spawn(io_, write_commands(link_), asio::detached);
    asio::co_spawn(io_, read_log(link_), asio::detached);
    co_await read_reports(link_);

    const bool was_ready = status_.state == WorkerState::ready;
    const std::string how = co_await wait_for_end(link_);
    link_.reset();
    status_.pid = -1;
    if (stopping_) break;

    const std::string why = fatal_.empty() ? fmt::format("the model process ended ({})", how) : fatal_;
    deaths_before_ready_ = was_ready ? 0 : deaths_before_ready_ + 1;
    if (!fatal_.empty() || deaths_before_ready_ >= kDeathsBeforeReadyMax) {
      const std::string lines = last_log_lines();
      set_state(WorkerState::failed, fatal_.empty() && !lines.empty() ? fmt::format("{}; its last lines:\n{}", why, lines) : why);
      fail_open({ErrorCode::unavailable, status_.problem});
      log::error("the worker does not come up: {}", status_.problem);
      co_return;
    }
    log::warn("{}; starting it again", why);
    set_state(WorkerState::backoff, why);
    fail_open({ErrorCode::internal, why + " while it worked on this request; it is being started again"});
    backoff = was_ready ? 100ms : std::min<std::chrono::milliseconds>(backoff * 2, 5000ms);
    co_await sleep_for(io_, backoff);
    ++status_.restarts;
    metrics_.worker_restarts.Increment();
  }
  set_state(WorkerState::stopped, kStopping);
}

awaitable<void> Supervisor::read_reports(std::shared_ptr<Link> link) {
  std::string buffer;
  boost::system::error_code error;
  while (true) {
    const std::size_t length = co_await asio::async_read_until(link->out, asio::dynamic_buffer(buffer, wire::kLineBytesMax), '\n',
                                                               asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    auto report = wire::parse_report(std::string_view(buffer).substr(0, length - 1));
    buffer.erase(0, length);
    if (!report) {
      // A worker that says nonsense cannot be trusted with answers.
      fatal_.clear();
      log::error("a line from the worker was not understood: {}", report.error().message);
      co_return;
    }
    handle(*std::move(report));
  }
}

awaitable<void> Supervisor::read_log(std::shared_ptr<Link> link) {
  std::string buffer;
  boost::system::error_code error;
  while (true) {
    const std::size_t length =
        co_await asio::async_read_until(link->err, asio::dynamic_buffer(buffer, 1u << 20), '\n', asio::redirect_error(asio::use_awaitable, error));
    const std::size_t taken = error ? buffer.size() : length;
    if (taken > 0) {
      std::string line = buffer.substr(0, taken);
      buffer.erase(0, taken);
      while (!line.empty() && line.back() == '\n') line.pop_back();
      std::cerr << line << '\n';
      log_lines_.push_back(std::move(line));
      if (log_lines_.size() > kLogLinesKept) log_lines_.pop_front();
    }
    if (error) co_return;
  }
}

awaitable<void> Supervisor::write_commands(std::shared_ptr<Link> link) {
  boost::system::error_code error;
  while (!link->ended) {
    if (link->outgoing.empty()) {
      link->wake.expires_at(TimePoint::max());
      co_await link->wake.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    const std::string line = std::move(link->outgoing.front());
    link->outgoing.pop_front();
    co_await asio::async_write(link->in, asio::buffer(line), asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;  // The reader of its output sees the end, too.
  }
}

// Its output ended. It has a moment to exit by itself, then it must.
awaitable<std::string> Supervisor::wait_for_end(std::shared_ptr<Link> link) {
  const TimePoint patience = SteadyClock::now() + 500ms;
  bool killed = false;
  while (true) {
    if (auto how = link->child.reap()) {
      co_await sleep_for(io_, 10ms);  // The last log lines are on their way.
      link->ended = true;
      link->wake.cancel();
      boost::system::error_code ignored;
      link->in.close(ignored);
      link->err.close(ignored);
      co_return *how;
    }
    if (!killed && SteadyClock::now() > patience) {
      link->child.send_signal(SIGKILL);
      killed = true;
    }
    co_await sleep_for(io_, 2ms);
  }
}

void Supervisor::handle(wire::Report report) {
  if (auto* hello = std::get_if<wire::Hello>(&report)) {
    status_.engine_version = hello->engine_version;
    if (hello->protocol != wire::kProtocolVersion) {
      fatal_ = fmt::format("the worker speaks protocol {}, this server {}; both must be of the same release", hello->protocol, wire::kProtocolVersion);
      link_->child.send_signal(SIGTERM);
      return;
    }
    set_state(WorkerState::loading);
  } else if (auto* loading = std::get_if<wire::Loading>(&report)) {
    status_.load_progress = loading->progress;
  } else if (auto* ready = std::get_if<wire::Ready>(&report)) {
    status_.ready = std::move(*ready);
    status_.load_progress = 1;
    set_state(WorkerState::ready);
  } else if (auto* fatal = std::get_if<wire::Fatal>(&report)) {
    fatal_ = std::move(fatal->error.message);
  } else if (auto* counted = std::get_if<wire::Counted>(&report)) {
    if (const auto pending = counts_.find(counted->id); pending != counts_.end()) {
      pending->second->answer.emplace(std::move(*counted));
      pending->second->wake.cancel();
    }
  } else if (auto* event = std::get_if<wire::Event>(&report)) {
    if (const auto pending = counts_.find(event->id); pending != counts_.end()) {
      if (auto* failed = std::get_if<Failed>(&event->event)) pending->second->answer.emplace(std::move(failed->error));
      pending->second->wake.cancel();
      return;
    }
    const auto sink = sinks_.find(event->id);
    if (sink == sinks_.end()) return;  // Released before.
    EventSink* to = sink->second;
    if (std::holds_alternative<Finished>(event->event) || std::holds_alternative<Failed>(event->event)) sinks_.erase(sink);
    to->on_event(std::move(event->event));
  }
}

void Supervisor::fail_open(const Error& error) {
  for (auto& [id, sink] : std::exchange(sinks_, {})) sink->on_event(Failed{error});
  for (auto& [id, pending] : counts_) {
    pending->answer.emplace(error);
    pending->wake.cancel();
  }
}

void Supervisor::set_state(WorkerState state, std::string problem) {
  status_.state = state;
  status_.problem = std::move(problem);
  changed_.cancel();
  changed_.expires_at(TimePoint::max());
}

void Supervisor::send(const wire::Command& command) {
  if (!link_) return;
  link_->outgoing.push_back(wire::encode(command));
  link_->wake.cancel();
}

std::string Supervisor::last_log_lines() const {
  std::string lines;
  for (const std::string& line : log_lines_) lines += (lines.empty() ? "" : "\n") + line;
  return lines;
}

awaitable<Result<void>> Supervisor::until_ready() {
  const TimePoint deadline = SteadyClock::now() + options_.ready_wait_max;
  if (stopping_) co_return Error{ErrorCode::unavailable, kStopping};
  while (status_.state != WorkerState::ready) {
    if (status_.state == WorkerState::failed || status_.state == WorkerState::stopped) co_return Error{ErrorCode::unavailable, status_.problem};
    if (SteadyClock::now() > deadline) co_return Error{ErrorCode::unavailable, "the model is still loading"};
    // A timer of its own bounds the wait; a change of state ends it early.
    asio::steady_timer bound(io_, deadline);
    bound.async_wait([this](const boost::system::error_code& error) {
      if (!error) changed_.cancel();
    });
    boost::system::error_code ignored;
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return Result<void>();
}

awaitable<Result<wire::Counted>> Supervisor::count(Prompt prompt, bool wants_tokens) {
  if (const Result<void> ready = co_await until_ready(); !ready) co_return ready.error();
  const RequestId id = new_id();
  const auto pending = std::make_shared<PendingCount>(io_.get_executor());
  counts_[id] = pending;
  send(wire::Count{id, std::move(prompt), wants_tokens});
  pending->wake.expires_after(60s);
  boost::system::error_code ignored;
  if (!pending->answer) co_await pending->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  counts_.erase(id);
  if (!pending->answer) co_return Error{ErrorCode::timeout, "the prompt could not be counted within 60 seconds"};
  co_return *std::move(pending->answer);
}

void Supervisor::generate(GenerateRequest request, EventSink& sink) {
  if (stopping_ || status_.state != WorkerState::ready) {
    sink.on_event(Failed{{ErrorCode::unavailable, stopping_ ? kStopping : status_.problem.empty() ? "the model is not loaded" : status_.problem}});
    return;
  }
  sinks_[request.id] = &sink;
  send(wire::Generate{std::move(request)});
}

void Supervisor::release(RequestId id) {
  if (sinks_.erase(id) > 0) send(wire::Cancel{id});
}

void Supervisor::pause(RequestId id) { send(wire::Pause{id}); }
void Supervisor::resume(RequestId id) { send(wire::Resume{id}); }

awaitable<void> Supervisor::stop() {
  stopping_ = true;
  // Told here: what the worker says of them now would read as the end of an answer.
  fail_open({ErrorCode::unavailable, kStopping});
  send(wire::Shutdown{});
  const TimePoint patience = SteadyClock::now() + kStopPatience;
  while (link_ && SteadyClock::now() < patience) co_await sleep_for(io_, 5ms);
  if (link_) link_->child.send_signal(SIGKILL);
  while (link_) co_await sleep_for(io_, 5ms);
}

}  // namespace pensieve
