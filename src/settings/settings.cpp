#include "settings/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <toml++/toml.h>

namespace pensieve {
namespace {

constexpr Setting kSettings[] = {
    {"model", SettingKind::text, "", "Model to serve: a name or alias of the catalogue, or a GGUF file; default: the alias 'default', else the built-in demo model"},
    {"mmproj", SettingKind::text, "", "Projector (GGUF) with which the model sees images; off: none; default: the one that lies beside the model"},
    {"models", SettingKind::text, "", "Folder of the catalogue's models; default: ~/.local/share/pensieve/models"},
    {"batches", SettingKind::text, "", "File that keeps /v1/messages/batches; default: ~/.local/share/pensieve/batches.sqlite, made when the first batch comes"},
    {"batches-expire", SettingKind::integer, "86400", "Seconds after which what is still pending of a batch becomes 'expired'", 1, 30 * 86400},
    {"host", SettingKind::text, "127.0.0.1", "Address to listen on; beyond this machine only with a key"},
    {"port", SettingKind::integer, "7777", "Port to listen on; 0: any free one", 0, 65535},
    {"api-key", SettingKind::text, "", "Key that clients must send (x-api-key or Authorization: Bearer)"},
    {"api-key-file", SettingKind::text, "", "File whose first line is the key"},
    {"memory", SettingKind::text, "", "Ceiling of server and worker together: a size (4G, 4096M) or a part of the machine (50%); default: what is available, less a margin"},
    {"kv-type", SettingKind::text, "auto", "How the KV cache is kept: auto, f16, or q8_0 (half the bytes)"},
    {"memory-levels", SettingKind::text, "", "Available memory at which caution, warning, critical and emergency begin; default: 3000M,2000M,1000M,500M, less on machines under 8 GB"},
    {"worker-group", SettingKind::text, "auto", "Control group for the worker, whose limit the system keeps: auto (below the server's own, where cgroup v2 is delegated), off, or a folder to make it in"},
    {"idle-timeout", SettingKind::integer, "0", "Seconds without a request after which the worker is ended until the next one; 0: never", 0, 1000000},
    {"log-every", SettingKind::integer, "100", "Requests between two lines of figures in the log; besides, one a minute", 1, 1000000000},
    {"slots", SettingKind::integer, "2", "Requests that run at once", 1, 64},
    {"queue", SettingKind::integer, "64", "Requests that may wait in line; beyond it clients hear 529", 0, 10000},
    {"context", SettingKind::integer, "0", "Tokens of one conversation, prompt and answer; 0: what 1 GiB of KV cache holds for all slots", 0, 1 << 24},
    {"gpu-layers", SettingKind::text, "auto", "Layers on a GPU backend, if one is installed: auto or a number"},
    {"threads", SettingKind::integer, "0", "Threads that compute; 0: one for each core, from 8 on one fewer", 0, 1024},
    {"grace", SettingKind::integer, "30", "Seconds that running streams may go on after Ctrl-C", 0, 86400},
    {"stall-timeout", SettingKind::integer, "60", "Seconds without a finished step, while work is due, after which the worker is replaced", 1, 86400},
    {"load-timeout", SettingKind::integer, "120", "Seconds that requests wait for a worker that loads its model, then they fail with 503", 1, 86400},
    {"deaths-max", SettingKind::integer, "5", "Deaths of the worker within --deaths-window after which it is not started again", 0, 1000000},
    {"deaths-window", SettingKind::integer, "60", "Seconds", 1, 86400},
    {"cors-origin", SettingKind::text, "", "Web origins that may use this server, comma-separated; *: all"},
    {"max-body", SettingKind::size, "32M", "Largest request body", 1024, std::int64_t{1} << 32},
    {"store", SettingKind::text, "", "Folder for computed prompts, kept across restarts; off: none; default: pensieve/store in the user's cache folder"},
    {"store-size", SettingKind::size, "32G", "Bytes that --store may hold", 0, std::int64_t{1} << 50},
    {"store-writes-per-day", SettingKind::size, "64G", "Bytes that are written to --store in a day at most, for the disk's sake", 0, std::int64_t{1} << 50},
    {"exact", SettingKind::text, "on", "on: reuse only what gives the same tokens bit for bit; off: also answers as they were sampled"},
    {"chat-template", SettingKind::text, "", "chatml, phi3, llama3, plain, or Jinja source; default: the model's own"},
    {"tool-syntax", SettingKind::text, "", "How the model writes calls of tools: hermes, qwen-xml, llama, mistral, phi4, deepseek, glm, granite, gemma or harmony; default: as its template shows"},
    {"client-rules", SettingKind::text, "on", "Rules for particular clients, such as dropping Claude Code's billing line: on or off"},
    {"url-sources", SettingKind::text, "off", "Fetch documents and images that a request names by URL, never from private addresses: on or off"},
    {"worker", SettingKind::text, "", "The worker program; default: pensieve-worker beside this one"},
    {"log-level", SettingKind::text, "info", "trace, debug, info, warn, error, off"},
    {"config", SettingKind::text, "", "TOML file with these settings"},
};

std::optional<std::int64_t> parse_integer(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> number_of(const Setting& setting, const std::string& text) {
  return setting.kind == SettingKind::size ? parse_size(text) : parse_integer(text);
}

Result<Settings::Values> read_file(const std::string& path) {
  Settings::Values values;
  toml::table table;
  try {
    table = toml::parse_file(path);
  } catch (const toml::parse_error& problem) {
    const auto& at = problem.source().begin;
    return Error{ErrorCode::invalid_argument, fmt::format("--config: '{}', line {}: {}", path, static_cast<unsigned>(at.line), problem.description())};
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const auto known = std::ranges::find_if(kSettings, [&](const Setting& setting) { return name == setting.name; });
    if (known == std::end(kSettings)) return Error{ErrorCode::invalid_argument, fmt::format("--config: '{}': there is no setting '{}'", path, name)};
    if (const auto text = node.value_exact<std::string>()) values[name] = *text;
    else if (const auto number = node.value_exact<std::int64_t>()) values[name] = std::to_string(*number);
    else return Error{ErrorCode::invalid_argument, fmt::format("--config: '{}': {} must be a string or an integer", path, name)};
  }
  return values;
}

}  // namespace

std::span<const Setting> all_settings() { return kSettings; }

std::optional<std::int64_t> parse_size(const std::string& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) ++digits;
  const auto number = parse_integer(text.substr(0, digits));
  if (!number) return std::nullopt;
  std::string unit = text.substr(digits);
  std::ranges::transform(unit, unit.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  int shift = 0;
  if (unit.empty() || unit == "B") return number;
  if (unit[0] == 'K') shift = 10;
  else if (unit[0] == 'M') shift = 20;
  else if (unit[0] == 'G') shift = 30;
  else return std::nullopt;
  if (unit.size() > 1 && unit.substr(1) != "B" && unit.substr(1) != "IB") return std::nullopt;
  if (*number > (INT64_MAX >> shift)) return std::nullopt;
  return *number << shift;
}

std::string Settings::environment_name(const std::string& setting) {
  std::string name = "PENSIEVE_";
  for (const char c : setting) name.push_back(c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return name;
}

Result<Settings> Settings::merge(const Values& flags, const Values& environment) {
  std::string path;
  if (const auto given = environment.find("config"); given != environment.end()) path = given->second;
  if (const auto given = flags.find("config"); given != flags.end()) path = given->second;
  Values file;
  if (!path.empty()) {
    auto read = read_file(path);
    if (!read) return std::move(read).error();
    file = *std::move(read);
  }
  Settings settings;
  for (const Setting& setting : kSettings) {
    const std::string name = setting.name;
    Result<void> put;
    if (const auto flag = flags.find(name); flag != flags.end()) put = settings.put(setting, flag->second, "--" + name);
    else if (const auto variable = environment.find(name); variable != environment.end()) put = settings.put(setting, variable->second, environment_name(name));
    else if (const auto key = file.find(name); key != file.end()) put = settings.put(setting, key->second, path + ": " + name);
    else put = settings.put(setting, setting.standard, "default");
    if (!put) return std::move(put).error();
  }
  return settings;
}

Result<void> Settings::put(const Setting& setting, const std::string& value, const std::string& origin) {
  if (setting.kind != SettingKind::text) {
    const auto number = number_of(setting, value);
    if (!number || *number < setting.low || *number > setting.high) {
      return Error{ErrorCode::invalid_argument, fmt::format("{}: '{}' is not {} from {} to {}", origin, value,
                                                            setting.kind == SettingKind::size ? "a size (such as 32M)" : "a whole number", setting.low, setting.high)};
    }
  }
  held_[setting.name] = {value, origin};
  return {};
}

std::int64_t Settings::integer(const std::string& name) const {
  const auto setting = std::ranges::find_if(kSettings, [&](const Setting& candidate) { return name == candidate.name; });
  return number_of(*setting, text(name)).value_or(0);  // Checked by put().
}

std::string Settings::print() const {
  std::string lines;
  for (const Setting& setting : kSettings) {
    const Held& held = held_.at(setting.name);
    if (setting.name == std::string("config")) continue;  // The file does not name itself.
    const bool secret = setting.name == std::string("api-key") && !held.value.empty();
    const std::string value = secret ? "***" : held.value;
    const std::string shown = setting.kind == SettingKind::integer ? value : '"' + value + '"';
    lines += fmt::format("{:<28} # {}\n", fmt::format("{} = {}", setting.name, shown), held.origin);
  }
  return lines;
}

}  // namespace pensieve
