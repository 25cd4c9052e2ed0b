#include "supervisor/supervisor.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <iostream>
#include <span>

#include "base/clock.h"
#include "base/log.h"

namespace pensieve {
namespace asio = boost::asio;
using asio::awaitable;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t kLogLinesKept = 20;
constexpr auto kStopPatience = 2s;
constexpr const char* kStopping = "the server is stopping";
constexpr auto kPollMax = 1000ms;  // Between two looks at the worker's counters.
constexpr const char* kSuspect =
    "this request was running at two deaths of the model process, and did not come further the second time; it is not run again";

// FNV-1a over what is asked. A client that sends the same again gets the same key.
RequestKey key_of(const ModelRequest& request) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&hash](std::uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) hash = (hash ^ ((value >> shift) & 0xffu)) * 0x100000001b3u;
  };
  const auto mix_tokens = [&mix](std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) mix(static_cast<std::uint64_t>(token));
  };
  if (const auto* embed = std::get_if<EmbedRequest>(&request)) {
    for (const EmbedInput& input : embed->inputs) {
      mix(input.tokens.size());
      mix_tokens(input.tokens);
    }
    return RequestKey{hash};
  }
  const Prompt& prompt = std::get<GenerateRequest>(request).prompt;
  mix_tokens(prompt.tokens);
  for (const Message& message : prompt.messages) {
    for (const char c : message.text()) mix(static_cast<unsigned char>(c));
  }
  return RequestKey{hash};
}

wire::Command command_of(const ModelRequest& request) {
  if (const auto* embed = std::get_if<EmbedRequest>(&request)) return wire::Embed{*embed};
  return wire::Generate{std::get<GenerateRequest>(request)};
}

bool is_last(const StreamEvent& event) { return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event); }

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
    case WorkerState::asleep: return "asleep";
    case WorkerState::parked: return "parked";
    case WorkerState::reloading: return "reloading";
    case WorkerState::failed: return "failed";
    case WorkerState::stopped: return "stopped";
  }
  return "";
}

struct Supervisor::Link {
  Link(asio::io_context& io, ChildProcess spawned, std::chrono::milliseconds patience)
      : child(std::move(spawned)),
        in(io, child.release_stdin()),
        out(io, child.release_stdout()),
        err(io, child.release_stderr()),
        wake(io),
        watchdog(patience, SteadyClock::now()) {}

  ChildProcess child;
  asio::posix::stream_descriptor in, out, err;
  asio::steady_timer wake;  // Cancelled when there is something to write.
  std::deque<std::string> outgoing;
  Watchdog watchdog;
  bool health_asked = false;  // And not answered yet.
  bool stalled = false;
  std::optional<WorkerState> dismissed;  // Ended by us: asleep, parked or reloading.
  bool garbage = false;  // It said something that is no report.
  bool ended = false;
  std::optional<Error> fatal;  // Its last word.
};

Supervisor::Supervisor(asio::io_context& io, SupervisorOptions options, Metrics& metrics)
    : io_(io), options_(std::move(options)), metrics_(metrics), changed_(io, TimePoint::max()), policy_(options_.restarts) {}

Supervisor::~Supervisor() = default;

void Supervisor::start() { asio::co_spawn(io_, run(), asio::detached); }

awaitable<void> Supervisor::run() {
  while (true) {
    co_await until_wanted();
    if (stopping_) break;
    log_lines_.clear();
    group_kills_ = options_.group != nullptr ? options_.group->kills() : 0;
    ChildLimits limits;
    if (options_.group != nullptr) limits.members_file = options_.group->members_file();
    std::vector<std::string> argv = options_.worker_argv;
    if (status_.ready && !status_.ready->proof.empty()) {
      argv.insert(argv.end(), {"--proof", status_.ready->proof});
      if (exact_argv_ == options_.worker_argv) argv.emplace_back("--exact-tried");
    }
    auto spawned = ChildProcess::spawn(argv, limits);
    if (!spawned) {
      set_state(WorkerState::failed, fmt::format("the worker could not be started: {}", spawned.error().message));
      co_return;
    }
    link_ = std::make_shared<Link>(io_, *std::move(spawned), options_.stall_timeout);
    status_.pid = link_->child.pid();
    set_state(WorkerState::starting);
    asio::co_spawn(io_, write_commands(link_), asio::detached);
    asio::co_spawn(io_, read_log(link_), asio::detached);
    asio::co_spawn(io_, watch(link_), asio::detached);
    co_await read_reports(link_);
    const End end = co_await wait_for_end(link_);
    link_.reset();
    status_.pid = -1;
    if (stopping_) break;
    if (end.cause == "asleep" || end.cause == "parked" || end.cause == "reloading") {  // No death: what is open waits for the next one.
      ++status_.restarts;
      metrics_.worker_restarts(end.cause).Increment();
      continue;
    }

    const RestartPolicy::Verdict verdict = account_for(end);
    if (!verdict.restart && last_argv_) {  // Nothing is open: it was never ready.
      go_back();
      continue;
    }
    settle_open(end);
    if (!verdict.restart) {
      log::error("the worker does not come up: {}", status_.problem);
      co_return;
    }
    log::warn("{}; starting it again{}", end.why, verdict.degraded ? ", degraded: it died often of late" : "");
    if (verdict.pause > 0ms) co_await sleep_for(io_, verdict.pause);
    ++status_.restarts;
    metrics_.worker_restarts(end.cause).Increment();
  }
  set_state(WorkerState::stopped, kStopping);
}

awaitable<void> Supervisor::until_wanted() {
  boost::system::error_code ignored;
  while (!wanted_ && !stopping_) co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void Supervisor::sleep() { end_worker(WorkerState::asleep, "asleep after --idle-timeout; the next request wakes it"); }
void Supervisor::park(std::string why) { end_worker(WorkerState::parked, std::move(why)); }

void Supervisor::reload() {
  if (stopping_ || status_.state == WorkerState::failed || !link_ || link_->dismissed) return;
  end_worker(WorkerState::reloading, "the model process is being replaced, as was asked");
  wanted_ = true;
}

Result<void> Supervisor::change(std::vector<std::string> worker_argv, std::function<void()> undo) {
  if (stopping_ || status_.state != WorkerState::ready) return Error{ErrorCode::unavailable, fmt::format("the worker is {}: there is nothing to replace", name_of(status_.state))};
  next_argv_ = std::move(worker_argv);
  undo_change_ = std::move(undo);
  change_came_on_ = SteadyClock::now();
  status_.change_problem.clear();
  set_state(WorkerState::reloading, "another model will be loaded when what runs has ended");
  asio::post(io_, [this] { change_when_drained(); });
  return {};
}

// Posted, never called: whoever counted last still holds what was counted in this epoch.
void Supervisor::change_when_drained() {
  if (!next_argv_ || !open_.empty() || !counts_.empty() || stopping_) return;
  last_argv_ = std::exchange(options_.worker_argv, *std::exchange(next_argv_, std::nullopt));
  ++epoch_;
  change_came_on_ = SteadyClock::now();
  log::info("loading another model");
  if (status_.state == WorkerState::reloading) status_.state = WorkerState::ready;  // Its worker was: it is asked to end, not told.
  end_worker(WorkerState::reloading, "another model is being loaded");
  wanted_ = true;
}

void Supervisor::go_back() {
  status_.change_problem = status_.problem;
  log::error("the other model does not come up, the one before is loaded again: {}", status_.problem);
  options_.worker_argv = *std::exchange(last_argv_, std::nullopt);
  undo_change_();
  ++epoch_;
  change_came_on_ = SteadyClock::now();
  set_state(WorkerState::reloading, status_.change_problem);
}

void Supervisor::end_worker(WorkerState state, std::string why) {
  if (stopping_ || status_.state == WorkerState::failed) return;
  wanted_ = false;
  const bool listens = status_.state == WorkerState::ready;
  set_state(state, std::move(why));
  if (!link_ || link_->dismissed) return;
  link_->dismissed = state;
  // In an orderly way: it stores what its slots hold first, for a second at most. What it says from now on is not heard.
  if (listens) send(wire::Shutdown{});
  else link_->child.send_signal(SIGTERM);
  asio::co_spawn(io_, insist(link_), asio::detached);
}

awaitable<void> Supervisor::insist(std::shared_ptr<Link> link) {
  const TimePoint patience = SteadyClock::now() + kStopPatience;
  while (!link->ended && SteadyClock::now() < patience) co_await sleep_for(io_, 10ms);
  if (!link->ended) link->child.send_signal(SIGKILL);
}

void Supervisor::give_up_open(const std::string& why) { fail_open({ErrorCode::overloaded, why}); }

void Supervisor::unpark() {
  if (wanted_ || stopping_) return;
  wanted_ = true;
  set_state(WorkerState::starting);
}

SteadyClock::duration Supervisor::idle_for() const {
  if (!open_.empty() || !counts_.empty()) return SteadyClock::duration::zero();
  return SteadyClock::now() - last_use_;
}

void Supervisor::tell_memory(std::string level) {
  memory_level_ = std::move(level);
  if (status_.state == WorkerState::ready) send(wire::Memory{memory_level_});
}

// Decides what follows, and says so in status().
RestartPolicy::Verdict Supervisor::account_for(const End& end) {
  const TimePoint now = SteadyClock::now();
  std::vector<RestartPolicy::Running> running;
  if (end.had_requests) {
    for (const auto& [id, open] : open_) running.push_back({open.key, open.position});
  }
  RestartPolicy::Verdict verdict = policy_.on_death(now, running, end.from_outside);
  status_.last_death = end.why;
  if (end.hopeless) verdict.restart = false;
  std::string problem = end.why;
  if (!verdict.restart && !end.hopeless) {
    problem += fmt::format("; that was death {} within {} s, so it is not started again", policy_.deaths(now),
                           std::chrono::duration_cast<std::chrono::seconds>(options_.restarts.window).count());
  }
  const std::string lines = last_log_lines();
  if (!verdict.restart && !lines.empty() && end.cause != "fatal") problem += "; its last lines:\n" + lines;
  set_state(verdict.restart ? WorkerState::backoff : WorkerState::failed, std::move(problem));
  return verdict;
}

// What becomes of the requests that a dead worker had: those that seem to have killed
// it are told so, the others wait for the next worker. Called once for each death,
// after account_for(): state and policy already know of it.
void Supervisor::settle_open(const End& end) {
  if (status_.state == WorkerState::failed) return fail_open({ErrorCode::unavailable, status_.problem});
  std::vector<EventSink*> suspects;
  std::erase_if(open_, [&](const auto& entry) {
    const bool suspect = policy_.is_suspect(entry.second.key, SteadyClock::now());
    if (suspect) suspects.push_back(entry.second.sink);
    return suspect;
  });
  for (EventSink* sink : suspects) sink->on_event(Failed{{ErrorCode::internal, fmt::format("{}: {}", end.why, kSuspect)}});
}

// To a worker that is ready: all that was asked of those before it and not answered yet.
void Supervisor::hand_over() {
  for (auto& [id, pending] : counts_) {
    if (!pending->answer) send(pending->command);
  }
  for (const auto& [id, open] : open_) {
    const bool resumes = open.started.has_value();
    if (resumes) {
      ++status_.resumed;
      metrics_.requests_resumed.Increment();
      log::info("request {} goes on after {} tokens", static_cast<std::uint64_t>(id), open.position);
    }
    send(command_of(open.request));
    if (open.paused) send(wire::Pause{id});
  }
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
      link->garbage = true;
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

// Looks at its counters; ends it when it hangs: asks, waits 2 s, insists.
awaitable<void> Supervisor::watch(std::shared_ptr<Link> link) {
  const auto tick = std::clamp<std::chrono::milliseconds>(options_.stall_timeout / 5, 10ms, kPollMax);
  while (!link->ended && !link->watchdog.stalled(work_is_due(), SteadyClock::now())) {
    if ((status_.state == WorkerState::ready || next_argv_) && !std::exchange(link->health_asked, true)) send(wire::Health{});
    co_await sleep_for(io_, tick);
  }
  if (link->ended) co_return;
  link->stalled = true;
  log::error("the worker finished no step within {} ms while work was due (--stall-timeout); ending it", options_.stall_timeout.count());
  link->child.send_signal(SIGTERM);
  const TimePoint patience = SteadyClock::now() + kStopPatience;
  while (!link->ended && SteadyClock::now() < patience) co_await sleep_for(io_, 10ms);
  if (!link->ended) link->child.send_signal(SIGKILL);
}

bool Supervisor::work_is_due() const {
  if (status_.state == WorkerState::starting || status_.state == WorkerState::loading) return true;
  return !counts_.empty() || std::ranges::any_of(open_, [](const auto& entry) { return !entry.second.paused; });
}

// Its output ended, or is not to be read on. It has a moment to exit by itself, then it must.
awaitable<Supervisor::End> Supervisor::wait_for_end(std::shared_ptr<Link> link) {
  const bool was_ready = status_.state == WorkerState::ready;
  const TimePoint patience = SteadyClock::now() + 500ms;
  bool killed = false;
  std::optional<std::string> how;
  while (!(how = link->child.reap())) {
    if (!killed && SteadyClock::now() > patience) {
      link->child.send_signal(SIGKILL);
      killed = true;
    }
    co_await sleep_for(io_, 2ms);
  }
  co_await sleep_for(io_, 10ms);  // The last log lines are on their way.
  if (was_ready) last_use_ = SteadyClock::now();
  link->ended = true;
  link->wake.cancel();
  boost::system::error_code ignored;
  link->in.close(ignored);
  link->err.close(ignored);

  End end;
  end.had_requests = was_ready;
  if (link->dismissed) {
    end.cause = name_of(*link->dismissed);
    end.why = status_.problem.empty() ? "the model process was ended to free memory" : status_.problem;
  } else if (link->stalled) {
    end.cause = "stall";
    end.why = fmt::format("the model process hung (no step finished within {} ms) and was ended", options_.stall_timeout.count());
  } else if (options_.group != nullptr && options_.group->kills() > group_kills_) {
    end.cause = "signal";
    end.why = fmt::format("the model process was ended by the system at its memory cap ({}, {} bytes)", options_.group->folder(), options_.group->bytes_max());
  } else if (link->fatal) {
    end.cause = "fatal";
    end.why = link->fatal->message;
    // Room may be there the next time; a file that cannot be loaded stays one.
    end.hopeless = !was_ready && link->fatal->code != ErrorCode::overloaded;
  } else if (link->garbage) {
    end.cause = "garbage";
    end.why = "the model process said something that is no report and was ended";
  } else {
    end.cause = how->starts_with("signal") ? "signal" : "exit";
    end.from_outside = !killed && how->starts_with("signal 9 ");
    end.why = fmt::format("the model process ended ({})", killed ? "its output was closed, then " + *how : *how);
  }
  co_return end;
}

void Supervisor::handle(wire::Report report) {
  const TimePoint now = SteadyClock::now();
  if (link_->dismissed) return;  // Its open requests are settled at its end.
  if (auto* health = std::get_if<wire::HealthReport>(&report)) {
    link_->health_asked = false;
    link_->watchdog.counted(health->steps, health->pulse, now);
    status_.kv = std::move(health->kv);
    if (status_.kv.exact_tried && status_.kv.exact_differs.empty()) exact_argv_ = options_.worker_argv;
    if (health->pace != Pace{}) status_.pace = std::move(health->pace);  // Until a new worker has measured, the old one's holds.
    return;
  }
  link_->watchdog.progressed(now);
  if (auto* hello = std::get_if<wire::Hello>(&report)) {
    status_.engine_version = hello->engine_version;
    if (hello->protocol != wire::kProtocolVersion) {
      link_->fatal = Error{ErrorCode::internal, fmt::format("the worker speaks protocol {}, this server {}; both must be of the same release",
                                                            hello->protocol, wire::kProtocolVersion)};
      link_->child.send_signal(SIGTERM);
      return;
    }
    set_state(WorkerState::loading);
  } else if (auto* loading = std::get_if<wire::Loading>(&report)) {
    status_.load_progress = loading->progress;
  } else if (auto* ready = std::get_if<wire::Ready>(&report)) {
    status_.ready = std::move(*ready);
    status_.load_progress = 1;
    status_.in_group = options_.group != nullptr && options_.group->holds(status_.pid);
    if (options_.group != nullptr && !status_.in_group) log::warn("the worker is not in its control group '{}': only RLIMIT_DATA holds it", options_.group->folder());
    last_use_ = now;
    set_state(WorkerState::ready);
    if (memory_level_ != "safe") send(wire::Memory{memory_level_});
    hand_over();
    if (next_argv_) set_state(WorkerState::reloading, status_.problem);  // It died while the last streams ended in it.
    else last_argv_.reset();
    asio::post(io_, [this] { change_when_drained(); });
  } else if (auto* fatal = std::get_if<wire::Fatal>(&report)) {
    link_->fatal = std::move(fatal->error);
  } else if (auto* counted = std::get_if<wire::Counted>(&report)) {
    if (const auto pending = counts_.find(counted->id); pending != counts_.end()) {
      pending->second->answer.emplace(std::move(*counted));
      pending->second->wake.cancel();
    }
  } else if (auto* event = std::get_if<wire::Event>(&report)) {
    handle_event(std::move(*event));
  }
}

void Supervisor::handle_event(wire::Event event) {
  if (const auto pending = counts_.find(event.id); pending != counts_.end()) {
    if (auto* failed = std::get_if<Failed>(&event.event)) pending->second->answer.emplace(std::move(failed->error));
    pending->second->wake.cancel();
    return;
  }
  const auto found = open_.find(event.id);
  if (found == open_.end()) return;  // Released before.
  EventSink* to = found->second.sink;
  const bool goes_on = note(found->second, event.event);
  if (std::holds_alternative<Finished>(event.event)) policy_.acquit(found->second.key);
  if (is_last(event.event)) {
    open_.erase(found);
    if (next_argv_) asio::post(io_, [this] { change_when_drained(); });
  }
  last_use_ = SteadyClock::now();
  if (next_argv_) change_came_on_ = last_use_;
  if (goes_on) to->on_event(std::move(event.event));
}

// Writes the event into the request's journal. False: the client had it before.
bool Supervisor::note(Open& open, StreamEvent& event) {
  if (auto* started = std::get_if<Started>(&event)) {
    if (open.started) return false;
    open.started = *started;
    return true;
  }
  if (const auto* prefilled = std::get_if<Prefilled>(&event)) {
    open.position = std::max<std::int64_t>(open.position, prefilled->done_tokens);
    return true;
  }
  if (const auto* embedded = std::get_if<Embedded>(&event)) {
    auto* request = std::get_if<EmbedRequest>(&open.request);
    if (request == nullptr || embedded->index != request->done) return false;
    ++request->done;
    open.position = embedded->done_tokens;
    policy_.on_work();
    return true;
  }
  if (auto* finished = std::get_if<Finished>(&event); finished != nullptr && open.started) {
    finished->usage.cached_tokens = open.started->cached_tokens;
    finished->usage.kept_tokens = open.started->kept_tokens;
  }
  std::visit(
      [&](const auto& part) {
        if constexpr (requires { part.tokens; }) {
          auto* request = std::get_if<GenerateRequest>(&open.request);
          if (request == nullptr) return;
          request->said.insert(request->said.end(), part.tokens.begin(), part.tokens.end());
          request->events_to_skip = part.tokens.empty() ? request->events_to_skip + 1 : 1;
          open.position += std::ssize(part.tokens);
          policy_.on_work();
        }
      },
      event);
  return true;
}

void Supervisor::fail_open(const Error& error) {
  for (auto& [id, open] : std::exchange(open_, {})) open.sink->on_event(Failed{error});
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
  const TimePoint begun = SteadyClock::now();
  while (true) {
    const Result<bool> ready = co_await until_ready(begun, options_.ready_wait_max);
    if (!ready) co_return ready.error();
    if (*ready) co_return Result<void>();
  }
}

awaitable<Result<bool>> Supervisor::until_ready(TimePoint begun, std::chrono::milliseconds at_most) {
  const TimePoint until = SteadyClock::now() + at_most;
  if (stopping_) co_return Error{ErrorCode::unavailable, kStopping};
  if (status_.state == WorkerState::asleep) unpark();
  last_use_ = SteadyClock::now();
  while (status_.state != WorkerState::ready) {
    if (status_.state == WorkerState::failed || status_.state == WorkerState::stopped) co_return Error{ErrorCode::unavailable, status_.problem};
    const TimePoint deadline = std::max(begun, change_came_on_) + options_.ready_wait_max;
    const TimePoint now = SteadyClock::now();
    if (now > deadline) co_return Error{ErrorCode::unavailable, "the model is still loading"};
    if (now > until) co_return false;
    // A timer of its own bounds the wait; a change of state ends it early.
    asio::steady_timer bound(io_, std::min(deadline, until));
    bound.async_wait([this](const boost::system::error_code& error) {
      if (!error) changed_.cancel();
    });
    boost::system::error_code ignored;
    co_await changed_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return true;
}

awaitable<Result<wire::Counted>> Supervisor::count(Prompt prompt, bool wants_tokens) {
  if (const Result<void> ready = co_await until_ready(); !ready) co_return ready.error();
  const RequestId id = new_id();
  const auto pending = std::make_shared<PendingCount>(io_.get_executor());
  counts_[id] = pending;
  pending->command = {id, std::move(prompt), wants_tokens};
  send(pending->command);
  pending->wake.expires_after(60s);
  boost::system::error_code ignored;
  if (!pending->answer) co_await pending->wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  counts_.erase(id);
  if (next_argv_) asio::post(io_, [this] { change_when_drained(); });
  if (!pending->answer) co_return Error{ErrorCode::timeout, "the prompt could not be counted within 60 seconds"};
  co_return *std::move(pending->answer);
}

Result<void> Supervisor::may_run(const ModelRequest& request) const {
  if (policy_.is_suspect(key_of(request), SteadyClock::now())) return Error{ErrorCode::internal, kSuspect};
  return {};
}

void Supervisor::accept(ModelRequest request, EventSink& sink) {
  if (stopping_ || status_.state == WorkerState::failed) {
    sink.on_event(Failed{{ErrorCode::unavailable, stopping_ ? kStopping : status_.problem}});
    return;
  }
  if (const Result<void> may = may_run(request); !may) {
    sink.on_event(Failed{may.error()});
    return;
  }
  if (status_.state == WorkerState::asleep) unpark();
  // Drawn here, so that another worker makes the same draws.
  if (auto* generate = std::get_if<GenerateRequest>(&request); generate != nullptr && !generate->sampling.seed) generate->sampling.seed = random_();
  const RequestId id = std::visit([](const auto& one) { return one.id; }, request);
  Open& open = open_[id] = {&sink, key_of(request), std::move(request), std::nullopt, 0, false};
  if (status_.state == WorkerState::ready) send(command_of(open.request));  // Else when the next one is: hand_over().
}

void Supervisor::release(RequestId id) {
  if (open_.erase(id) == 0) return;
  send(wire::Cancel{id});
  if (next_argv_) asio::post(io_, [this] { change_when_drained(); });
}

void Supervisor::pause(RequestId id) {
  if (const auto found = open_.find(id); found != open_.end()) found->second.paused = true;
  send(wire::Pause{id});
}

void Supervisor::resume(RequestId id) {
  if (const auto found = open_.find(id); found != open_.end()) found->second.paused = false;
  send(wire::Resume{id});
}

awaitable<void> Supervisor::stop() {
  stopping_ = true;
  changed_.cancel();
  changed_.expires_at(TimePoint::max());
  // Told here: what the worker says of them now would read as the end of an answer.
  fail_open({ErrorCode::unavailable, kStopping});
  send(wire::Shutdown{});
  const TimePoint patience = SteadyClock::now() + kStopPatience;
  while (link_ && SteadyClock::now() < patience) co_await sleep_for(io_, 5ms);
  if (link_) link_->child.send_signal(SIGKILL);
  while (link_) co_await sleep_for(io_, 5ms);
}

}  // namespace pensieve
