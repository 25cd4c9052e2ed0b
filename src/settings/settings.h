// The settings of `pensieve serve`: one table from which flags, environment names
// and configuration keys are made, so that they cannot differ.
//
//   Precedence   flag, environment (PENSIEVE_...), configuration file, default.
//   Errors       invalid_argument, naming the setting, where it came from, its
//                value and what was expected.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

enum class SettingKind { text, integer, size };  // size: bytes, with K, M or G; may be empty where it says so.

struct Setting {
  const char* name;  // --name, PENSIEVE_NAME, name = ...
  SettingKind kind;
  const char* standard;
  const char* help;
  std::int64_t low = 0;  // Of integers and sizes.
  std::int64_t high = INT64_MAX;
};

std::span<const Setting> all_settings();

class Settings {
 public:
  using Values = std::map<std::string, std::string>;

  // `flags`: those given, by name. `environment`: looks a variable up. The
  // configuration file is the setting "config", if it is set anywhere.
  template <typename Environment>
  static Result<Settings> resolve(const Values& flags, const Environment& environment) {
    Values from_environment;
    for (const Setting& setting : all_settings()) {
      if (const char* value = environment(environment_name(setting.name).c_str())) from_environment[setting.name] = value;
    }
    return merge(flags, from_environment);
  }

  const std::string& text(const std::string& name) const { return held_.at(name).value; }
  bool given(const std::string& name) const { return held_.at(name).origin != "default"; }
  std::int64_t integer(const std::string& name) const;  // Of integers and sizes (bytes).
  std::string print() const;                            // As a configuration file, each with its origin. Hides the key.

  static std::string environment_name(const std::string& setting);

 private:
  struct Held {
    std::string value;
    std::string origin;
  };
  static Result<Settings> merge(const Values& flags, const Values& environment);
  Result<void> put(const Setting& setting, const std::string& value, const std::string& origin);

  std::map<std::string, Held> held_;
};

// "32M" to bytes. K, M, G are powers of 1024; a B or iB may follow.
std::optional<std::int64_t> parse_size(const std::string& text);

}  // namespace pensieve
