#include "budgeting.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "admission/memory_level.h"
#include "base/clock.h"
#include "catalogue/projector.h"
#include "commands.h"
#include "platform/child_process.h"
#include "platform/cores.h"
#include "platform/memory.h"
#include "settings/settings.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

constexpr auto kPlanWaitMax = 30s;

struct Said {
  std::string out;
  std::string err;
};

// Reads both ends until they close.
Said read_all(int out_fd, int err_fd, TimePoint deadline) {
  Said said;
  pollfd ends[] = {{out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}};
  while ((ends[0].fd >= 0 || ends[1].fd >= 0) && SteadyClock::now() < deadline) {
    if (::poll(ends, 2, 100) <= 0) continue;
    for (std::size_t i = 0; i < 2; ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t count = ::read(ends[i].fd, buffer, sizeof buffer);
      if (count > 0) (i == 0 ? said.out : said.err).append(buffer, static_cast<std::size_t>(count));
      else ends[i].fd = -1;
    }
  }
  return said;
}

Result<ModelNeeds> needs_told_by(ChildProcess child, std::uint64_t file_bytes, std::uint64_t slots, TimePoint deadline) {
  ::close(child.release_stdin());
  const int out = child.release_stdout();
  const int err = child.release_stderr();
  const Said said = read_all(out, err, deadline);
  ::close(out);
  ::close(err);
  if (said.out.empty()) return Error{ErrorCode::unavailable, said.err.empty() ? "the worker's program made no plan" : said.err};
  return parse_needs(said.out, file_bytes, slots);
}

}  // namespace

std::vector<std::string> projector_arguments(const std::string& mmproj, const std::string& model) {
  if (mmproj == "off") return {};
  if (!mmproj.empty()) return {"--mmproj", mmproj};
  const std::string found = projector_beside(model);
  if (found.empty()) return {};
  return {"--mmproj", found, "--mmproj-optional"};
}

Result<ModelNeeds> ask_for_needs(const std::string& worker, const std::string& model, std::uint64_t slots, const std::string& gpu_layers, const std::vector<std::string>& projector) {
  std::error_code status;
  const auto file_bytes = std::filesystem::file_size(model, status);
  if (status) return Error{ErrorCode::not_found, fmt::format("'{}' cannot be read: {}", model, status.message())};
  const auto ask = [&](const char* kv_type) {
    std::vector<std::string> argv = {worker, "--plan", "--model", model, "--slots", std::to_string(slots), "--kv-type", kv_type, "--gpu-layers", gpu_layers, "--log-level", "off"};
    argv.insert(argv.end(), projector.begin(), projector.end());
    return ChildProcess::spawn(argv);
  };
  auto f16 = ask("f16");
  auto q8_0 = ask("q8_0");
  if (!f16) return std::move(f16).error();
  if (!q8_0) return std::move(q8_0).error();
  const TimePoint deadline = SteadyClock::now() + kPlanWaitMax;
  auto needs = needs_told_by(*std::move(f16), file_bytes, slots, deadline);
  auto smaller = needs_told_by(*std::move(q8_0), file_bytes, slots, deadline);
  if (!needs) return smaller ? std::move(smaller) : std::move(needs);
  if (smaller) needs->q8_0 = smaller->q8_0;
  return needs;
}

Result<std::uint64_t> ceiling_from(const std::string& memory) {
  const auto machine = system_memory_monitor()->read();
  if (memory.empty()) {
    if (!machine) return Error{ErrorCode::unavailable, "--memory: how much this machine has is not known here; give a size"};
    return default_ceiling(machine->available_bytes, machine->total_bytes);
  }
  if (memory.ends_with('%')) {
    unsigned percent = 0;
    const char* end = memory.data() + memory.size() - 1;
    const auto [stop, error] = std::from_chars(memory.data(), end, percent);
    if (error != std::errc() || stop != end || percent < 1 || percent > 100) return Error{ErrorCode::invalid_argument, fmt::format("--memory: '{}' is not a part from 1% to 100%", memory)};
    if (!machine) return Error{ErrorCode::unavailable, "--memory: how much this machine has is not known here; give a size"};
    return machine->total_bytes / 100 * percent;
  }
  const auto bytes = parse_size(memory);
  if (!bytes || *bytes < (std::int64_t{1} << 20)) return Error{ErrorCode::invalid_argument, fmt::format("--memory: '{}' is neither a size of at least 1M (such as 4G) nor a part (such as 50%)", memory)};
  return static_cast<std::uint64_t>(*bytes);
}

Result<Budget> budget_for(const PlanOptions& options, const std::string& path) {
  const auto ceiling = ceiling_from(options.memory);
  if (!ceiling) return ceiling.error();
  const auto needs = ask_for_needs(options.worker, path, options.slots, "auto", projector_arguments(options.mmproj, path));
  if (!needs) return needs.error();
  Wishes wishes;
  wishes.ceiling_bytes = *ceiling;
  wishes.context_tokens = options.context_tokens;
  if (!options.memory.empty()) wishes.context_wanted = kContextWantedMax;
  wishes.slots = options.slots;
  wishes.slots_fixed = options.slots_fixed;
  wishes.kv_type = options.kv_type;
  wishes.threads = static_cast<std::uint64_t>(compute_threads());
  return make_budget(*needs, wishes);
}

Result<LevelBytes> levels_from(const std::string& text) {
  if (text.empty()) {
    const auto machine = system_memory_monitor()->read();
    const MemoryBounds bounds = MemoryBounds::for_machine(machine ? machine->total_bytes : UINT64_MAX);
    return LevelBytes{bounds.caution, bounds.warning, bounds.critical, bounds.emergency};
  }
  std::vector<std::uint64_t> sizes;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, ',');) sizes.push_back(static_cast<std::uint64_t>(parse_size(part).value_or(0)));
  const bool falling = sizes.size() == 4 && sizes[0] > sizes[1] && sizes[1] > sizes[2] && sizes[2] > sizes[3] && sizes[3] > 0;
  if (!falling) return Error{ErrorCode::invalid_argument, fmt::format("--memory-levels: '{}' is not four falling sizes, such as 3000M,2000M,1000M,500M", text)};
  return LevelBytes{sizes[0], sizes[1], sizes[2], sizes[3]};
}

std::string json_of(const Budget& budget) {
  nlohmann::ordered_json lines = nlohmann::ordered_json::array();
  for (const Budget::Line& line : budget.lines) lines.push_back({{"name", line.name}, {"bytes", line.bytes}, {"note", line.note}});
  const nlohmann::ordered_json json = {{"context_tokens", budget.context_tokens}, {"slots", budget.slots},
                                       {"kv_type", budget.kv_type},               {"ceiling_bytes", budget.ceiling_bytes},
                                       {"total_bytes", budget.total_bytes},       {"requests_bytes", budget.requests_bytes},
                                       {"worker_data_bytes_max", budget.data_bytes_max}, {"lines", lines}};
  return json.dump();
}

std::string cap_json(const std::string& folder, std::uint64_t group_bytes, std::uint64_t data_bytes, const std::string& problem) {
  const nlohmann::ordered_json json = {{"kind", folder.empty() ? "RLIMIT_DATA" : "control group"},
                                       {"group", folder.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(folder)},
                                       {"group_bytes_max", folder.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(group_bytes)},
                                       {"group_problem", problem.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(problem)},
                                       {"data_bytes_max", data_bytes}};
  return json.dump();
}

std::string worker_beside(const std::string& own_path) { return (std::filesystem::path(own_path).parent_path() / "pensieve-worker").string(); }

}  // namespace pensieve
