// `pensieve store ls|stat|verify|purge`: the folder of computed prompts, seen from outside.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/size_text.h"
#include "cache/store_survey.h"
#include "commands.h"
#include "store_folder.h"

namespace pensieve {
namespace {

using Json = nlohmann::json;

std::string when(FileTime time) {
  if (time == FileTime{}) return "never";
  const auto seconds = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(time));
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(seconds));
}

std::string model_of(const StoreFolder& folder) {
  const Json about = Json::parse(folder.about, nullptr, false);
  if (!about.is_object()) return "(unknown)";
  return about.value("model", "(unknown)") + ", engine " + about.value("engine", "?") + (about.value("exact", true) ? "" : ", not exact");
}

int failed(const Error& error) {
  std::cerr << "pensieve store: " << error.message << '\n';
  return 1;
}

int list(const StoreSurvey& survey) {
  if (survey.folders.empty()) std::cout << "Nothing is stored yet.\n";
  for (const StoreFolder& folder : survey.folders) {
    std::cout << fmt::format("{}  {:>6} blocks  {:>9}  used {}  {}\n", hex(folder.fingerprint), folder.blocks, size_text(folder.bytes), when(folder.used), model_of(folder));
  }
  return 0;
}

int stat(const std::string& folder, const StoreSurvey& survey) {
  std::uint64_t blocks = 0, bytes = 0;
  for (const StoreFolder& one : survey.folders) {
    blocks += one.blocks;
    bytes += one.bytes;
  }
  std::cout << fmt::format("folder     {}\nmodels     {}\nblocks     {} of 256 tokens\nbytes      {}\nset aside  {} (damaged; kept in {}/set_aside)\n", folder, survey.folders.size(), blocks,
                           size_text(bytes), survey.set_aside, folder);
  return 0;
}

int verify(const std::string& folder, const StoreSurvey& survey) {
  std::uint64_t all = 0, seen = 0, damaged = 0;
  for (const StoreFolder& one : survey.folders) all += one.blocks;
  const bool terminal = ::isatty(STDERR_FILENO) != 0;
  auto shown = std::chrono::steady_clock::now();
  const Result<void> done = verify_store(real_files(), folder, [&](const std::string& path, const std::string& problem) {
    ++seen;
    if (!problem.empty()) {
      ++damaged;
      std::cout << path << ": " << problem << '\n';
    }
    if (const auto now = std::chrono::steady_clock::now(); terminal && now - shown > std::chrono::milliseconds(200)) {
      std::cerr << fmt::format("\r{} of {} blocks", seen, all);
      shown = now;
    }
  });
  if (terminal) std::cerr << "\r\x1b[K";
  if (!done) return failed(done.error());
  std::cout << fmt::format("{} blocks read, {} damaged\n", seen, damaged);
  if (damaged > 0) std::cout << "The server sets a damaged block aside when it meets it and computes the tokens.\n";
  return damaged == 0 ? 0 : 1;
}

int purge(const std::string& folder, const StoreOptionsGiven& options) {
  std::optional<BlockKey> only;
  if (!options.fingerprint.empty()) {
    only = parse_key(options.fingerprint);
    if (!only) {
      std::cerr << fmt::format("pensieve store purge: '{}' is no fingerprint of 32 digits; 'pensieve store ls' shows them\n", options.fingerprint);
      return 2;
    }
  }
  if (!options.yes && ::isatty(STDIN_FILENO) != 0) {
    std::cout << fmt::format("Remove {} from {}? [y/N] ", only ? "the blocks of " + options.fingerprint : "all blocks", folder) << std::flush;
    std::string answer;
    if (!std::getline(std::cin, answer) || (answer != "y" && answer != "yes")) return 1;
  } else if (!options.yes) {
    std::cerr << "pensieve store purge: give --yes to remove without being asked\n";
    return 2;
  }
  const auto removed = purge_store(real_files(), folder, only);
  if (!removed) return failed(removed.error());
  std::cout << fmt::format("{} blocks removed\n", *removed);
  return 0;
}

}  // namespace

int store(const StoreOptionsGiven& options) {
  const std::string folder = options.folder.empty() ? default_store_folder() : options.folder;
  const auto survey = survey_store(real_files(), folder);
  if (!survey && survey.error().code == ErrorCode::not_found) {
    std::cout << fmt::format("There is no store in {} yet.\n", folder);
    return 0;
  }
  if (!survey) return failed(survey.error());
  if (options.action == "ls") return list(*survey);
  if (options.action == "stat") return stat(folder, *survey);
  if (options.action == "verify") return verify(folder, *survey);
  return purge(folder, options);
}

}  // namespace pensieve
