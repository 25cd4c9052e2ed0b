// `pensieve serve`: builds the parts and joins them. Everything lives on one
// io_context and one thread; see docs/ARCHITECTURE.md.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>
#include <thread>

#include "admission/memory_gate.h"
#include "admission/waiting_line.h"
#include "api/anthropic/errors.h"
#include "api/api.h"
#include "base/log.h"
#include "budget/ledger.h"
#include "budgeting.h"
#include "commands.h"
#include "documents/sources.h"
#include "http/server.h"
#include "platform/cores.h"
#include "platform/memory.h"
#include "platform/worker_group.h"
#include "store_folder.h"
#include "supervisor/supervisor.h"

namespace pensieve {
namespace {

namespace asio = boost::asio;
using namespace std::chrono_literals;

int asked_wrongly(const std::string& message) {
  std::cerr << "pensieve: " << message << '\n';
  return 2;
}

Result<std::string> key_from(const Settings& settings) {
  const std::string& path = settings.text("api-key-file");
  if (path.empty()) return settings.text("api-key");
  if (!settings.text("api-key").empty()) return Error{ErrorCode::invalid_argument, "--api-key and --api-key-file: give one of them"};
  std::ifstream file(path);
  std::string key;
  if (!std::getline(file, key) || key.empty()) return Error{ErrorCode::invalid_argument, fmt::format("--api-key-file: '{}' has no key in its first line", path)};
  return key;
}

bool is_loopback(const std::string& host) { return host == "localhost" || host == "::1" || host.starts_with("127."); }

// XDG_DATA_HOME/pensieve/NAME, else ~/.local/share/pensieve/NAME, else beside where we are.
std::string data_file(const char* name) {
  const auto value = [](const char* variable) { const char* set = std::getenv(variable); return std::filesystem::path(set == nullptr ? "" : set); };
  if (const auto data = value("XDG_DATA_HOME"); !data.empty()) return (data / "pensieve" / name).string();
  const auto home = value("HOME");
  return home.empty() ? name : (home / ".local/share/pensieve" / name).string();
}

// Beside the binaries (build/release/bin/) or where an installation puts it.
std::string builtin_model(const std::filesystem::path& folder) {
  for (const char* candidate : {"../../../models/pensieve-demo.gguf", "../share/pensieve/pensieve-demo.gguf"}) {
    std::error_code ignored;
    const auto path = std::filesystem::weakly_canonical(folder / candidate, ignored);
    if (std::filesystem::exists(path, ignored)) return path.string();
  }
  return {};
}

Result<bool> on_or_off(const Settings& settings, const std::string& name) {
  const std::string& text = settings.text(name);
  if (text != "on" && text != "off") return Error{ErrorCode::invalid_argument, fmt::format("--{}: '{}' is neither on nor off", name, text)};
  return text == "on";
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream stream(list);
  for (std::string part; std::getline(stream, part, ',');) {
    if (!part.empty()) parts.push_back(part);
  }
  return parts;
}

asio::awaitable<void> announce(Supervisor& supervisor) {
  if (const Result<void> ready = co_await supervisor.until_ready(); !ready) co_return;
  const wire::Ready& facts = *supervisor.status().ready;
  std::cout << fmt::format("ready: {} ({:.1f} MB), {} slots of {} tokens, KV cache {:.1f} MB, on {}\n", facts.model.name,
                           static_cast<double>(facts.model.file_bytes) / 1e6, facts.slots, facts.context_tokens,
                           static_cast<double>(facts.kv_bytes) / 1e6, facts.backends)
            << std::flush;
}

// Refuse, drain, end the worker, leave. A second signal leaves at once.
asio::awaitable<void> end_on_signal(asio::io_context& io, http::Server& server, Supervisor& supervisor, std::chrono::seconds grace) {
  asio::signal_set signals(io, SIGINT, SIGTERM);
  co_await signals.async_wait(asio::use_awaitable);
  server.stop_accepting();
  signals.async_wait([](const boost::system::error_code& error, int) {
    if (!error) std::_Exit(1);  // The worker dies with us.
  });
  if (server.busy() > 0) log::info("{} requests are running; they have {} s (Ctrl-C again ends at once)", server.busy(), grace.count());
  const TimePoint deadline = SteadyClock::now() + grace;
  asio::steady_timer tick(io);
  while (server.busy() > 0 && SteadyClock::now() < deadline) {
    tick.expires_after(10ms);
    co_await tick.async_wait(asio::use_awaitable);
  }
  if (server.busy() > 0) log::warn("{} requests did not finish within --grace and are cut off", server.busy());
  co_await supervisor.stop();
  // Those cut off are told so, as far as they read.
  const TimePoint told = SteadyClock::now() + 500ms;
  while (server.busy() > 0 && SteadyClock::now() < told) {
    tick.expires_after(10ms);
    co_await tick.async_wait(asio::use_awaitable);
  }
  io.stop();
}

// What a worker loads.
struct ModelFiles {
  std::string model;
  std::vector<std::string> projector;  // See projector_arguments.
};

// The plan; nullopt where the model's program makes none, and then the settings go to it as they are.
Result<std::optional<Budget>> budget_from(const Settings& settings, const std::string& worker, const ModelFiles& files) {
  const auto ceiling = ceiling_from(settings.text("memory"));
  if (!ceiling) return ceiling.error();
  const std::string& kv_type = settings.text("kv-type");
  if (kv_type != "auto" && kv_type != "f16" && kv_type != "q8_0") return Error{ErrorCode::invalid_argument, fmt::format("--kv-type: '{}' is not auto, f16 or q8_0", kv_type)};
  const auto slots = static_cast<std::uint64_t>(settings.integer("slots"));
  const auto needs = ask_for_needs(worker, files.model, slots, settings.text("gpu-layers"), files.projector);
  if (!needs) {
    log::info("no plan: {}", needs.error().message);
    return std::optional<Budget>();
  }
  Wishes wishes;
  wishes.ceiling_bytes = *ceiling;
  wishes.context_tokens = static_cast<std::uint64_t>(settings.integer("context"));
  if (settings.given("memory")) wishes.context_wanted = kContextWantedMax;
  wishes.slots = slots;
  wishes.slots_fixed = settings.given("slots");
  wishes.kv_type = kv_type;
  wishes.body_bytes_max = static_cast<std::uint64_t>(settings.integer("max-body"));
  const auto threads = static_cast<std::uint64_t>(settings.integer("threads"));
  wishes.threads = threads > 0 ? threads : static_cast<std::uint64_t>(compute_threads());
  auto budget = make_budget(*needs, wishes);
  if (!budget) return std::move(budget).error();
  return std::optional(*std::move(budget));
}

// So long a stream waits, with pings, for a worker that an emergency ended.
constexpr auto kParkedWaitMax = 120s;

// What follows from the machine's memory and from time: levels, sleep, the line of figures.
struct Housekeeping {
  Metrics& metrics;
  MemoryGate& gate;
  WaitingLine& line;
  Supervisor& supervisor;
  Api& api;
  std::uint64_t standing_bytes;  // What a worker needs to come back after an emergency.
  std::size_t queue;
  std::chrono::seconds idle_timeout;
  std::uint64_t log_every;
};

std::vector<std::string> worker_argv_for(const Settings& settings, const std::string& worker, const ModelFiles& files, const std::optional<Budget>& plan, std::uint64_t slots, bool exact) {
  std::vector<std::string> argv = {worker, "--model", files.model, "--slots", std::to_string(slots), "--context", plan ? std::to_string(plan->context_tokens) : settings.text("context"),
                                   "--threads", settings.text("threads"), "--gpu-layers", settings.text("gpu-layers"), "--log-level", settings.text("log-level")};
  const auto add = [&](std::initializer_list<std::string> more) { argv.insert(argv.end(), more); };
  if (plan) add({"--kv-type", plan->kv_type, "--data-max", std::to_string(plan->data_bytes_max)});
  if (const std::string& chat = settings.text("chat-template"); !chat.empty()) add({"--chat-template", chat});
  if (const std::string& syntax = settings.text("tool-syntax"); !syntax.empty()) add({"--tool-syntax", syntax});
  if (const std::string store = store_folder(settings); !store.empty()) {
    add({"--store", store, "--store-size", std::to_string(settings.integer("store-size")), "--store-writes-per-day", std::to_string(settings.integer("store-writes-per-day"))});
  }
  argv.emplace_back(exact ? "--exact" : "--no-exact");
  argv.insert(argv.end(), files.projector.begin(), files.projector.end());
  return argv;
}

// What changes with the model of a running server.
struct ModelChange {
  const Settings& settings;
  std::string worker;
  std::uint64_t slots;  // The line and the forecasts are made for so many.
  bool exact;
  std::uint64_t body_bytes_max;
  Housekeeping& house;
  Ledger& ledger;
};

std::uint64_t standing_of(const std::optional<Budget>& plan) { return plan ? plan->total_bytes - plan->requests_bytes : 0; }

// What `pensieve reload --model` left for this process; empty: nothing. From its own user only.
std::string model_wished_for() {
  const std::string path = reload_file(::getpid());
  struct stat about {};
  std::string wish;
  if (::lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode) || about.st_uid != ::getuid()) return wish;
  std::getline(std::ifstream(path), wish);
  ::unlink(path.c_str());
  return wish;
}

Result<void> change_model(const ModelChange& change, const std::string& wish) {
  std::string model = wish;
  if (model.find('/') == std::string::npos) {
    auto path = resolve_model(change.settings.text("models"), model);
    if (!path) return std::move(path).error();
    model = *std::move(path);
  }
  if (::access(model.c_str(), R_OK) != 0) return Error{ErrorCode::not_found, fmt::format("'{}' cannot be read", model)};
  // It takes some tenths of a second, in which nothing else is served.
  // A projector that --mmproj names belongs to the model of the start.
  const ModelFiles files = {model, projector_arguments(change.settings.text("mmproj") == "off" ? "off" : "", model)};
  const auto budget = budget_from(change.settings, change.worker, files);
  if (!budget) return budget.error();
  const std::optional<Budget>& plan = *budget;
  if (plan && plan->slots != change.slots) return Error{ErrorCode::unavailable, fmt::format("under this server's --memory '{}' has room for {} slots, not {}: start the server anew", model, plan->slots, change.slots)};
  if (!plan && change.house.standing_bytes > 0) return Error{ErrorCode::unavailable, fmt::format("what '{}' would need cannot be told: it is no model that can be loaded", model)};
  const auto plan_with = [&change](std::uint64_t standing_bytes, std::string plan_json) {
    change.house.standing_bytes = standing_bytes;
    change.ledger.set_standing(standing_bytes + change.body_bytes_max);
    change.house.api.set_plan(std::move(plan_json));
  };
  const auto undo = [plan_with, standing_bytes = change.house.standing_bytes, plan_json = change.house.api.plan()] { plan_with(standing_bytes, plan_json); };
  if (Result<void> changing = change.house.supervisor.change(worker_argv_for(change.settings, change.worker, files, plan, change.slots, change.exact), undo); !changing) return changing;
  if (plan) plan_with(standing_of(plan), json_of(*plan));
  return {};
}

// SIGHUP: another worker. Of the program and the model file as they are now: streams go on in it. Or of another model.
asio::awaitable<void> reload_on_signal(asio::io_context& io, const ModelChange& change) {
  asio::signal_set signals(io, SIGHUP);
  while (true) {
    co_await signals.async_wait(asio::use_awaitable);
    const std::string wish = model_wished_for();
    log::info("SIGHUP: replacing the worker{}{}", wish.empty() ? "" : ", by one of ", wish);
    if (wish.empty()) {
      change.house.supervisor.reload();
    } else if (const Result<void> changing = change_model(change, wish); !changing) {
      log::error("the model stays: {}", changing.error().message);
      change.house.supervisor.refuse_change(changing.error().message);
    }
  }
}

void on_level(const Housekeeping& house, MemoryLevel to) {
  house.metrics.memory_changes(name_of(to)).Increment();
  house.supervisor.tell_memory(name_of(to));
  house.line.shorten(to >= MemoryLevel::warning ? house.queue / 4 : SIZE_MAX);
  if (to == MemoryLevel::emergency) house.supervisor.park("the machine ran out of memory; the model comes back when there is enough");
  if (to >= MemoryLevel::caution) return_freed_memory();
}

// Wakes the gate when tasks begin to wait for memory, whatever it is doing.
asio::awaitable<void> heed(asio::io_context& io, MemoryGate& gate, Metrics& metrics, PressureAlarm alarm) {
  asio::posix::stream_descriptor trigger(io, alarm.fd);
  boost::system::error_code error;
  while (true) {
    co_await trigger.async_wait(asio::posix::stream_descriptor::wait_error, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return;
    metrics.memory_alarms.Increment();
    if (!gate.alarmed()) log::info("memory: tasks wait for it ({}, {})", alarm.source, alarm.trigger);  // Once for those that follow one another.
    gate.alarm();
  }
}

// What the system holds the worker to: for the log, and as JSON for /health.
struct WorkerCap {
  std::unique_ptr<WorkerGroup> group;  // Null: RLIMIT_DATA alone.
  std::string json = "null";
};

WorkerCap cap_from(const Settings& settings, const std::optional<Budget>& plan) {
  WorkerCap cap;
  if (!plan) return cap;
  const std::string& wanted = settings.text("worker-group");
  std::string problem = "--worker-group off";
  if (wanted != "off") {
    auto made = WorkerGroup::make(wanted == "auto" ? std::string() : wanted, plan->worker_bytes_max);
    if (made) cap.group = *std::move(made);
    else problem = made.error().message;
  }
  if (cap.group) log::info("the worker's cap: control group {}, {:.1f} MB; and RLIMIT_DATA, {:.1f} MB", cap.group->folder(), static_cast<double>(plan->worker_bytes_max) / 1e6, static_cast<double>(plan->data_bytes_max) / 1e6);
  else log::info("the worker's cap: RLIMIT_DATA, {:.1f} MB; no control group: {}", static_cast<double>(plan->data_bytes_max) / 1e6, problem);
  cap.json = cap_json(cap.group ? cap.group->folder() : std::string(), cap.group ? plan->worker_bytes_max : 0, plan->data_bytes_max, cap.group ? std::string() : problem);
  return cap;
}

// A worker that comes back must not bring the emergency with it.
bool may_come_back(const Housekeeping& house) {
  if (house.gate.level() >= MemoryLevel::critical || !house.gate.memory()) return false;
  return house.gate.memory()->available_bytes > house.standing_bytes + house.gate.bounds().emergency;
}

asio::awaitable<void> keep_house(asio::io_context& io, const Housekeeping& house) {
  asio::steady_timer tick(io);
  TimePoint logged_at = SteadyClock::now();
  TimePoint parked_at = logged_at;
  std::uint64_t logged_ended = 0;
  while (true) {
    house.gate.sample();
    if (house.supervisor.status().state != WorkerState::parked) parked_at = SteadyClock::now();
    else if (may_come_back(house)) house.supervisor.unpark();
    else if (SteadyClock::now() - parked_at > kParkedWaitMax) house.supervisor.give_up_open("the machine stayed out of memory");
    if (house.idle_timeout > 0s && house.supervisor.status().state == WorkerState::ready && house.supervisor.idle_for() > house.idle_timeout) {
      house.supervisor.sleep();
      return_freed_memory();
    }
    const bool busy_minute = SteadyClock::now() - logged_at > 60s && house.api.ended() > logged_ended;
    if (busy_minute || house.api.ended() >= logged_ended + house.log_every) {
      log::info("figures {}", house.api.figures());
      logged_at = SteadyClock::now();
      logged_ended = house.api.ended();
      return_freed_memory();
    }
    tick.expires_after(house.gate.alarmed() ? 25ms : 250ms);
    co_await tick.async_wait(asio::use_awaitable);
  }
}

}  // namespace

std::string reload_file(pid_t server) { return data_file(fmt::format("reload-{}", server).c_str()); }

int serve(const Settings& settings, const std::string& own_path) {
  if (const Result<void> started = log_start("server", settings.text("log-level")); !started) return asked_wrongly(started.error().message);
  std::signal(SIGPIPE, SIG_IGN);
  const auto key = key_from(settings);
  if (!key) return asked_wrongly(key.error().message);
  const std::string host = settings.text("host");
  if (!is_loopback(host) && key->empty()) {
    return asked_wrongly(fmt::format("--host {}: listening beyond this machine needs a key; give --api-key or --api-key-file", host));
  }
  const std::filesystem::path folder = std::filesystem::path(own_path).parent_path();
  std::string model = settings.text("model");
  if (model.empty()) {  // The alias "default", if there is one.
    const auto chosen = resolve_model(settings.text("models"), "default");
    model = chosen ? *chosen : builtin_model(folder);
  } else if (settings.text("worker").empty() && model.find('/') == std::string::npos && !model.ends_with(".gguf")) {
    // A path goes to the worker as it is, and so does what another worker may take.
    auto path = resolve_model(settings.text("models"), model);
    if (!path) return asked_wrongly("--model: " + path.error().message);
    model = *std::move(path);
  }
  if (model.empty()) return asked_wrongly("--model: the built-in model is not there; give a GGUF file");
  std::string worker = settings.text("worker");
  if (worker.empty()) worker = (folder / "pensieve-worker").string();
  if (::access(worker.c_str(), X_OK) != 0) return asked_wrongly(fmt::format("--worker: '{}' is not a program", worker));

  const std::string& client_rules = settings.text("client-rules");
  if (client_rules != "on" && client_rules != "off") return asked_wrongly(fmt::format("--client-rules: '{}' is neither on nor off", client_rules));
  const auto exact = on_or_off(settings, "exact");
  if (!exact) return asked_wrongly(exact.error().message);
  const auto url_sources = on_or_off(settings, "url-sources");
  if (!url_sources) return asked_wrongly(url_sources.error().message);
  const ModelFiles files = {model, projector_arguments(settings.text("mmproj"), model)};
  const auto budget = budget_from(settings, worker, files);
  if (!budget) return asked_wrongly(budget.error().message);
  const auto levels = levels_from(settings.text("memory-levels"));
  if (!levels) return asked_wrongly(levels.error().message);
  const std::optional<Budget>& plan = *budget;
  if (plan) std::cout << "plan:\n" << plan->table() << std::flush;
  const std::uint64_t slots = plan ? plan->slots : static_cast<std::uint64_t>(settings.integer("slots"));
  const auto body_bytes_max = static_cast<std::uint64_t>(settings.integer("max-body"));

  asio::io_context io(1);
  Metrics metrics;
  const WorkerCap cap = cap_from(settings, plan);
  SupervisorOptions supervision;
  supervision.group = cap.group.get();
  supervision.worker_argv = worker_argv_for(settings, worker, files, plan, slots, *exact);
  supervision.stall_timeout = std::chrono::seconds(settings.integer("stall-timeout"));
  supervision.ready_wait_max = std::chrono::seconds(settings.integer("load-timeout"));
  supervision.restarts.deaths_max = static_cast<std::size_t>(settings.integer("deaths-max"));
  supervision.restarts.window = std::chrono::seconds(settings.integer("deaths-window"));
  Supervisor supervisor(io, std::move(supervision), metrics);
  const auto queue = static_cast<std::size_t>(settings.integer("queue"));
  WaitingLine line(io.get_executor(), static_cast<std::size_t>(slots), queue);
  // Of the requests' part one largest body is the HTTP server's to give out, the rest the ledger's.
  const std::uint64_t requests_bytes = plan ? plan->requests_bytes : 3 * body_bytes_max + (16u << 20);
  const std::uint64_t standing_bytes = standing_of(plan);
  Ledger ledger(standing_bytes + body_bytes_max, requests_bytes - body_bytes_max);
  const auto monitor = system_memory_monitor();
  MemoryGate gate(*monitor, {levels->caution, levels->warning, levels->critical, levels->emergency});
  ApiOptions api_options;
  api_options.api_key = *key;
  api_options.client_rules = client_rules == "on";
  if (plan) api_options.plan_json = json_of(*plan);
  api_options.cap_json = cap.json;
  Forecast forecast(static_cast<std::size_t>(slots));
  Promises promises;
  const Entrance entrance{line, gate, ledger, forecast, promises};
  Api api(io, std::move(api_options), entrance, supervisor, metrics);
  SourceOptions source_options;
  source_options.urls = *url_sources;
  // A body's worth of the ledger stays for the request that brings the document. Pages that are drawn share the rest.
  const std::uint64_t reader_bytes = std::min<std::uint64_t>(source_options.pdf.data_bytes_max, requests_bytes - 2 * body_bytes_max);
  source_options.pdf.data_bytes_max = reader_bytes;
  source_options.pictures.bytes_max = std::min<std::size_t>(source_options.pictures.bytes_max, reader_bytes / 4);
  source_options.pictures.data_bytes_max = reader_bytes - source_options.pictures.bytes_max;
  source_options.remote.bytes_max = static_cast<std::size_t>(body_bytes_max);
  Sources sources(std::move(source_options), ledger);
  api.read_sources(sources);
  Housekeeping house{metrics, gate, line, supervisor, api, standing_bytes, queue, std::chrono::seconds(settings.integer("idle-timeout")),
                           static_cast<std::uint64_t>(settings.integer("log-every"))};
  gate.on_change([&house](MemoryLevel, MemoryLevel to) { on_level(house, to); });

  anthropic::BatchOptions batch_options;
  batch_options.path = settings.text("batches");
  if (batch_options.path.empty()) batch_options.path = data_file("batches.sqlite");
  batch_options.expires_after = std::chrono::seconds(settings.integer("batches-expire"));
  anthropic::Batches batches(io, std::move(batch_options), line, [&api](http::Exchange& exchange) { return api.messages(exchange); });
  api.serve_batches(batches);

  http::ServerOptions options;
  options.host = host;
  options.port = static_cast<std::uint16_t>(settings.integer("port"));
  options.body_bytes_max = static_cast<std::size_t>(body_bytes_max);
  options.bodies_bytes_max = options.body_bytes_max;
  options.guard.check_host = is_loopback(host);
  options.guard.bound_host = host;
  options.guard.cors_origins = split(settings.text("cors-origin"));
  http::Server server(io, options, [&api](http::Exchange& exchange) { return api.handle(exchange); },
                      [](int status, const std::string& message, const std::string& id) { return anthropic::error_reply(status, message, id); });
  if (const Result<void> listening = server.listen(); !listening) {
    std::cerr << "pensieve: " << listening.error().message << '\n';
    return 1;
  }
  server.start();
  supervisor.start();
  asio::co_spawn(io, end_on_signal(io, server, supervisor, std::chrono::seconds(settings.integer("grace"))), asio::detached);
  asio::co_spawn(io, announce(supervisor), asio::detached);
  const ModelChange change{settings, worker, slots, *exact, body_bytes_max, house, ledger};
  asio::co_spawn(io, reload_on_signal(io, change), asio::detached);
  asio::co_spawn(io, batches.work(), asio::detached);
  asio::co_spawn(io, keep_house(io, house), asio::detached);
  std::vector<PressureAlarm> alarms = open_pressure_alarms();
  if (alarms.empty()) log::info("memory: the system gives no alarms; the gate looks four times a second");
  for (PressureAlarm& alarm : alarms) asio::co_spawn(io, heed(io, gate, metrics, std::move(alarm)), asio::detached);
  std::cout << fmt::format("listening on http://{}:{}\n", host.find(':') == std::string::npos ? host : "[" + host + "]", server.port()) << std::flush;
  io.run();
  if (cap.group) cap.group->remove();
  // Suspended coroutines still hold references to the parts above: leave without unwinding them.
  std::cout << std::flush;
  std::_Exit(0);
}

}  // namespace pensieve
