// `pensieve reload`: the running server replaces its worker, of the program and the model
// file as they are now; open streams go on in the new one. With --model: by one of another model;
// open streams end in the old one first (docs/resuming.md). The
// server is found by its address and told by a signal: only its owner can do that, and
// only on this machine.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/errno_text.h"
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

// Readable for its owner alone, and no server takes it from anybody else.
bool leave_wish(pid_t server, const std::string& model) {
  const std::string path = reload_file(server);
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = ::write(fd, model.data(), model.size()) == static_cast<ssize_t>(model.size());
  return ::close(fd) == 0 && written;
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
  std::error_code no_file;
  const auto as_file = std::filesystem::absolute(options.model, no_file);
  const bool is_file = !options.model.empty() && std::filesystem::exists(as_file, no_file);
  if (!options.model.empty() && !leave_wish(pid, is_file ? as_file.string() : options.model)) return failed(fmt::format("'{}' cannot be written: {}", reload_file(pid), errno_text()));
  if (::kill(pid, SIGHUP) != 0) return failed(fmt::format("process {} could not be told: {}", pid, errno_text()));
  const Json old_worker = (*before)["worker"].value("pid", Json());
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(options.wait_seconds);
  while (std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (!options.model.empty() && std::filesystem::exists(reload_file(pid), no_file)) continue;  // Not taken yet: what is told is of before.
    const auto now = health_of(*address, options.url);
    if (!now) return failed(now.error().message);
    if (now->value("status", "") == "failed") return failed(now->value("problem", "the new worker does not come up"));
    const Json& worker = (*now)["worker"];
    // What runs ends in the old one first, however long that takes.
    if (worker.value("state", "") == "reloading" && worker.value("pid", Json()) == old_worker) deadline = std::chrono::steady_clock::now() + std::chrono::seconds(options.wait_seconds);
    const Json problem = worker.value("change_problem", Json());
    if (!options.model.empty() && problem.is_string() && worker.value("state", "") == "ready") return failed(problem.get<std::string>());
    if (worker.value("state", "") != "ready" || worker.value("pid", Json()) == old_worker) continue;
    if (!options.model.empty()) {
      std::cout << fmt::format("worker {} replaced by {}, of {}\n", old_worker.dump(), worker["pid"].dump(), (*now)["model"].value("name", "?"));
      return 0;
    }
    std::cout << fmt::format("worker {} replaced by {}; {} streams went on so far\n", old_worker.dump(), worker["pid"].dump(), worker.value("requests_resumed", 0));
    return 0;
  }
  return failed(fmt::format("the new worker is not ready after {} s; see `pensieve status`", options.wait_seconds));
}

}  // namespace pensieve
