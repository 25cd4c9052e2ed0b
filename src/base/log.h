// The process's log: lines on stderr, never on stdout (the worker's stdout is
// the wire). Call log_start() once, first thing in main().
//
//   Threads  any.
//   Levels   trace, debug, info, warn, error, off.
#pragma once

#include <spdlog/spdlog.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace pensieve {

// `process` is printed in every line, so that the two processes can be told apart.
Result<void> log_start(std::string_view process, std::string_view level);

namespace log = spdlog;

}  // namespace pensieve
