// `pensieve import DIR`: a checkpoint into the catalogue, and what that cost in precision.
#include "catalogue/import.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/errno_text.h"
#include "commands.h"

extern char** environ;

namespace pensieve {

// Its words go to our stderr.
Result<void> quantise_file(const std::string& own_path, const std::string& from, const std::string& to, const std::string& type) {
  const std::string program = (std::filesystem::path(own_path).parent_path() / "pensieve-quantize").string();
  std::string arguments[] = {program, from, to, type};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), arguments[3].data(), nullptr};
  pid_t child = 0;
  if (const int error = ::posix_spawn(&child, program.c_str(), nullptr, nullptr, argv, environ); error != 0) {
    return Error{ErrorCode::unavailable, fmt::format("'{}' cannot be started: {}", program, errno_text(error))};
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Error{ErrorCode::internal, WIFSIGNALED(status) ? fmt::format("the quantiser ended by signal {}", WTERMSIG(status)) : "the quantiser failed (see above)"};
}

int import_model(const ImportCommand& command, const std::string& own_path) {
  ModelStore store(command.models.empty() ? ModelStore::standard_root([](const char* name) { return std::getenv(name); }) : std::filesystem::path(command.models));
  ImportOptions options;
  options.folder = command.folder;
  options.name = command.name;
  options.quantisation = command.quantisation;
  options.quantise = [&](const std::string& from, const std::string& to, const std::string& type) { return quantise_file(own_path, from, to, type); };
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto report = import_checkpoint(store, options, [&](std::uint64_t done, std::uint64_t total) {
    if (terminal) std::cerr << fmt::format("\r{} of {} tensors", done, total) << (done == total ? "\n" : "") << std::flush;
  });
  if (!report) {
    std::cerr << "pensieve import: " << report.error().message << '\n';
    return report.error().code == ErrorCode::invalid_argument ? 2 : 1;
  }
  if (command.json) {
    const nlohmann::ordered_json json = {{"name", report->model.name}, {"path", report->model.path()}, {"bytes", report->model.bytes()}, {"architecture", report->architecture},
                                         {"tensors", report->tensors}, {"quantised_weights", report->quantised_weights}, {"error_max", report->error_max},
                                         {"error_tensor", report->error_tensor}, {"overflows", report->overflows}, {"has_template", report->has_template}, {"cuts_marks_otherwise", report->cuts_marks_otherwise}};
    std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    return 0;
  }
  std::cout << fmt::format("{} is here: {}, {} tensors, {:.1f} MB\n", report->model.name, report->architecture, report->tensors, static_cast<double>(report->model.bytes()) / 1e6);
  if (report->error_max == 0) std::cout << "Every weight was written as it was.\n";
  else std::cout << fmt::format("Largest difference between a weight of the checkpoint and the one written: {:.3g} (in {})\n", report->error_max, report->error_tensor);
  if (quantised_by_engine(options.quantisation)) std::cout << fmt::format("That is before the engine's quantiser made {} of it.\n", options.quantisation);
  if (report->overflows > 0) std::cout << fmt::format("WARNING: {} numbers were too large for a half and were cut (first in {}); --quant bf16 has room for them\n", report->overflows, report->overflow_tensor);
  if (!report->has_template) std::cout << "It has no chat template; ChatML will be used unless serve gets --chat-template.\n";
  if (report->cuts_marks_otherwise) std::cout << "Text with combining marks (Hindi, Thai, accents written apart) is cut into other tokens than its makers cut it: the engine knows this way of cutting without them.\n";
  std::cout << fmt::format("Serve it: pensieve serve --model {}\n", report->model.name);
  return 0;
}

}  // namespace pensieve
