// The commands of `pensieve`. Each returns the process's exit code: 0 well, 1 it
// failed, 2 it was asked wrongly.
#pragma once

#include <cstdint>
#include <string>

#include "settings/settings.h"

namespace pensieve {

int serve(const Settings& settings, const std::string& own_path);

struct RunOptions {
  std::string url = "http://127.0.0.1:7777";
  std::string api_key;
  std::string system;
  std::string prompt;  // Empty: a conversation in the terminal.
  int max_tokens = 1024;
};
int run(const RunOptions& options);

struct PlanOptions {
  std::string model;
  std::uint64_t context_tokens = 0;
  std::uint64_t slots = 2;
  bool json = false;
};
int plan(const PlanOptions& options);

}  // namespace pensieve
