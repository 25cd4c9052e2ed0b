#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>

#include <fmt/format.h>

namespace pensieve {

Result<void> log_start(std::string_view process, std::string_view level) {
  const auto parsed = spdlog::level::from_str(std::string(level));
  if (parsed == spdlog::level::off && level != "off") {
    return Error{ErrorCode::invalid_argument,
                 fmt::format("--log-level: '{}' is none of trace, debug, info, warn, error, off", level)};
  }
  auto logger = std::make_shared<spdlog::logger>(std::string(process), std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l [%n] %v");
  logger->set_level(parsed);
  logger->flush_on(spdlog::level::trace);
  spdlog::set_default_logger(std::move(logger));
  return {};
}

}  // namespace pensieve
