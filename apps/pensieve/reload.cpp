// `pensieve reload`: the running server replaces its worker, of the program and the model
// file as they are now; open streams go on in the new one (docs/resuming.md). The
// server is found by its address and told by a signal: only its owner can do that, and
// only on this machine.
#include <fmt/format.h>
#include <signal.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "client.h"
#include "commands.h"

namespace pensieve {
namespace {

using Json = nlohmann::json;

Result<Json> health_of(const Address& address, const std::string& url) {
  const auto health = http_get(address, "/health", {});
  if (!health) return Error{ErrorCode::unavailable, fmt::format("no server answers at {} ({})", url, health.error().message)};
  Json told = Json::parse(health->body, nullptr, false);
  const bool ours = told.is_object() && told.contains("pid") && told["pid"].is_number_integer() && told.contains("worker") && told["worker"].is_object();
  if (!ours) return Error{ErrorCode::internal, fmt::format("what answers at {} is no Pensieve server of this version", url)};
  return told;
}

// What listens at an address may be anything: a signal goes to a process of our own kind only.
bool is_pensieve(pid_t pid) {
#ifdef __linux__
  std::string name;
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
  return name == "pensieve";
#else
  return pid > 1;
#endif
}

int failed(const std::string& why) {
  std::cerr << "pensieve reload: " << why << '\n';
  return 1;
}

}  // namespace

int reload(const ReloadOptions& options) {
  const auto address = parse_url(options.url);
  if (!address) return failed(fmt::format("--url: '{}' is not of the form http://HOST:PORT", options.url)) + 1;
  if (address->host != "127.0.0.1" && address->host != "localhost" && address->host != "::1") return failed("--url: a server is reloaded on its own machine only") + 1;
  const auto before = health_of(*address, options.url);
  if (!before) return failed(before.error().message);
  const auto pid = (*before)["pid"].get<pid_t>();
  if (!is_pensieve(pid)) return failed(fmt::format("process {}, which {} names as itself, is no pensieve", pid, options.url));
  const std::string state = (*before)["worker"].value("state", "");
  if (state != "ready") return failed(fmt::format("the worker is {}: there is nothing to replace", state));
  if (::kill(pid, SIGHUP) != 0) return failed(fmt::format("process {} could not be told: {}", pid, std::strerror(errno)));
  const Json old_worker = (*before)["worker"].value("pid", Json());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(options.wait_seconds);
  while (std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    const auto now = health_of(*address, options.url);
    if (!now) return failed(now.error().message);
    if (now->value("status", "") == "failed") return failed(now->value("problem", "the new worker does not come up"));
    const Json& worker = (*now)["worker"];
    if (worker.value("state", "") != "ready" || worker.value("pid", Json()) == old_worker) continue;
    std::cout << fmt::format("worker {} replaced by {}; {} streams went on so far\n", old_worker.dump(), worker["pid"].dump(), worker.value("requests_resumed", 0));
    return 0;
  }
  return failed(fmt::format("the new worker is not ready after {} s; see `pensieve status`", options.wait_seconds));
}

}  // namespace pensieve
