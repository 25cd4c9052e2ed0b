#include "catalogue/model_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "base/errno_text.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::size_t kNameBytesMax = 96;
constexpr std::uint64_t kJsonBytesMax = 1u << 20;

bool name_character(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'; }

Error disk_error(const fs::path& path, const std::error_code& error) {
  return {ErrorCode::internal, fmt::format("'{}': {}", path.string(), error.message())};
}

std::optional<json> read_json(const fs::path& path) {
  std::error_code error;
  if (fs::file_size(path, error) > kJsonBytesMax || error) return std::nullopt;
  std::ifstream in(path);
  json value = json::parse(in, nullptr, false);
  return value.is_discarded() ? std::nullopt : std::optional(std::move(value));
}

void sync(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

Result<void> write_json(const fs::path& path, const json& value) {
  const fs::path unfinished = path.string() + ".new";
  std::ofstream out(unfinished, std::ios::trunc);
  out << value.dump(2, ' ', false, json::error_handler_t::replace) << '\n';
  out.close();
  std::error_code error;
  if (!out) return Error{ErrorCode::internal, fmt::format("'{}' cannot be written: {}", path.string(), errno_text())};
  sync(unfinished);
  fs::rename(unfinished, path, error);
  if (error) return disk_error(path, error);
  return {};
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// What a model's own file says, believed only as far as it makes sense: names stay inside the folder.
std::optional<StoredModel> read_model(const fs::path& folder) {
  const auto manifest = read_json(folder / "model.json");
  if (!manifest || !manifest->is_object() || !manifest->contains("files") || !(*manifest)["files"].is_array()) return std::nullopt;
  StoredModel model;
  model.name = folder.filename().string();
  model.folder = folder;
  model.source = text_of(*manifest, "source");
  model.licence = text_of(*manifest, "licence");
  for (const json& each : (*manifest)["files"]) {
    if (!each.is_object()) return std::nullopt;
    StoredFile file;
    file.name = text_of(each, "name");
    file.sha256 = text_of(each, "sha256");
    std::error_code error;
    if (file.name.empty() || file.name != fs::path(file.name).filename() || file.name.starts_with('.')) return std::nullopt;
    file.bytes = fs::file_size(folder / file.name, error);
    if (error) return std::nullopt;
    model.files.push_back(std::move(file));
  }
  return model.files.empty() ? std::nullopt : std::optional(std::move(model));
}

std::optional<StoredModel> lone_file(const fs::path& path) {
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error || path.extension() != ".gguf") return std::nullopt;
  // Of a split model only the first part is loaded; the engine finds the others.
  const std::string stem = path.stem().string();
  const std::size_t of = stem.rfind("-of-");
  if (of != std::string::npos && of >= 6 && stem[of - 6] == '-' && stem.substr(of - 5, 5) != "00001") return std::nullopt;
  StoredModel model;
  model.name = path.stem().string();
  model.folder = path.parent_path();
  model.files.push_back({path.filename().string(), bytes, ""});
  return model;
}

}  // namespace

std::uint64_t StoredModel::bytes() const {
  return std::accumulate(files.begin(), files.end(), std::uint64_t{0}, [](std::uint64_t sum, const StoredFile& file) { return sum + file.bytes; });
}

fs::path ModelStore::standard_root(const std::function<const char*(const char*)>& environment) {
  const auto value = [&](const char* name) {
    const char* text = environment(name);
    return std::string(text == nullptr ? "" : text);
  };
  if (const std::string given = value("PENSIEVE_MODELS"); !given.empty()) return given;
  if (const std::string data = value("XDG_DATA_HOME"); !data.empty()) return fs::path(data) / "pensieve" / "models";
  const std::string home = value("HOME");
  return fs::path(home.empty() ? "." : home) / ".local" / "share" / "pensieve" / "models";
}

bool ModelStore::valid_name(const std::string& name) {
  return !name.empty() && name.size() <= kNameBytesMax && name[0] != '.' && name[0] != '-' && std::ranges::all_of(name, name_character) &&
         name != "aliases.json";
}

std::string ModelStore::name_from(const std::string& text) {
  std::string name;
  for (char c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (!name_character(c)) c = '-';
    if (name.empty() && (c == '.' || c == '-')) continue;
    name.push_back(c);
  }
  if (name.size() > kNameBytesMax) name.resize(kNameBytesMax);
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name;
}

std::vector<StoredModel> ModelStore::list() const {
  std::vector<StoredModel> models;
  std::error_code error;
  for (fs::directory_iterator at(root_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with('.')) continue;
    std::error_code ignored;
    auto model = at->is_directory(ignored) ? read_model(at->path()) : lone_file(at->path());
    if (model) models.push_back(*std::move(model));
  }
  std::ranges::sort(models, {}, &StoredModel::name);
  return models;
}

Result<StoredModel> ModelStore::find(const std::string& name) const {
  const auto models = list();
  const auto named = [&](const std::string& wanted) { return std::ranges::find(models, wanted, &StoredModel::name); };
  if (const auto model = named(name); model != models.end()) return *model;
  auto known = aliases();
  if (!known) return std::move(known).error();
  // The longest pattern that matches is the most particular one.
  const std::pair<const std::string, std::string>* best = nullptr;
  for (const auto& alias : *known) {
    if (matches_pattern(alias.first, name) && (best == nullptr || alias.first.size() > best->first.size())) best = &alias;
  }
  if (best != nullptr) {
    if (const auto model = named(best->second); model != models.end()) return *model;
    return Error{ErrorCode::not_found, fmt::format("'{}' is an alias ({}) of '{}', which is not here; 'pensieve pull {}' may bring it", name, best->first, best->second, best->second)};
  }
  std::vector<std::string> names;
  for (const StoredModel& model : models) names.push_back(model.name);
  return Error{ErrorCode::not_found, fmt::format("there is no model '{}' here; {}", name,
                                                 names.empty() ? "none was pulled yet ('pensieve pull' shows what can be)" : fmt::format("there are: {}", fmt::join(names, ", ")))};
}

Result<void> ModelStore::remove(const std::string& name) {
  const auto models = list();
  const auto model = std::ranges::find(models, name, &StoredModel::name);
  std::error_code error;
  if (model == models.end()) {
    // What an interrupted pull left is removed by the same name.
    if (valid_name(name) && fs::remove_all(root_ / ".partial" / name, error) > 0 && !error) return {};
    auto found = find(name);
    if (found) return Error{ErrorCode::invalid_argument, fmt::format("'{}' is an alias of '{}'; give that name, or 'pensieve alias --remove {}'", name, found->name, name)};
    return std::move(found).error();
  }
  if (model->folder == root_) {
    fs::remove(model->path(), error);
    if (error) return disk_error(model->path(), error);
    return {};
  }
  // Out of sight first: half a model is never listed.
  const fs::path bin = root_ / ".partial" / (name + ".removed");
  fs::create_directories(bin.parent_path(), error);
  fs::remove_all(bin, error);
  fs::rename(model->folder, bin, error);
  if (error) return disk_error(model->folder, error);
  fs::remove_all(bin, error);
  if (error) return disk_error(bin, error);
  return {};
}

Result<std::string> ModelStore::resolve(const std::string& text) const {
  std::error_code error;
  if (fs::exists(text, error) && !fs::is_directory(text, error)) return text;
  if (text.find('/') != std::string::npos || text.ends_with(".gguf")) return Error{ErrorCode::not_found, fmt::format("'{}': there is no such file", text)};
  auto model = find(text);
  if (!model) return std::move(model).error();
  return model->path();
}

Result<ModelStore::Aliases> ModelStore::aliases() const {
  Aliases known;
  std::error_code error;
  const fs::path path = root_ / "aliases.json";
  if (!fs::exists(path, error)) return known;
  const auto value = read_json(path);
  if (!value || !value->is_object()) return Error{ErrorCode::corrupt, fmt::format("'{}' is not a JSON object of names", path.string())};
  for (const auto& [pattern, target] : value->items()) {
    if (!target.is_string()) return Error{ErrorCode::corrupt, fmt::format("'{}': the alias '{}' does not name a model", path.string(), pattern)};
    known[pattern] = target.get<std::string>();
  }
  return known;
}

Result<void> ModelStore::set_alias(const std::string& pattern, const std::string& target) {
  if (pattern.empty() || pattern.size() > 256) return Error{ErrorCode::invalid_argument, "ALIAS: a name of 1 to 256 characters is expected"};
  if (!valid_name(target)) return Error{ErrorCode::invalid_argument, fmt::format("MODEL: '{}' is not a model's name", target)};
  const auto models = list();
  if (std::ranges::find(models, pattern, &StoredModel::name) != models.end()) return Error{ErrorCode::invalid_argument, fmt::format("ALIAS: '{}' is a model's name already", pattern)};
  if (std::ranges::find(models, target, &StoredModel::name) == models.end()) return find(target).error();
  auto known = aliases();
  if (!known) return std::move(known).error();
  (*known)[pattern] = target;
  return write_json(root_ / "aliases.json", *known);
}

Result<void> ModelStore::remove_alias(const std::string& pattern) {
  auto known = aliases();
  if (!known) return std::move(known).error();
  if (known->erase(pattern) == 0) return Error{ErrorCode::not_found, fmt::format("there is no alias '{}'", pattern)};
  return write_json(root_ / "aliases.json", *known);
}

Result<fs::path> ModelStore::staging(const std::string& name) const {
  if (!valid_name(name)) return Error{ErrorCode::invalid_argument, fmt::format("'{}' cannot be a model's name: lower-case letters, digits, '.', '_' and '-'", name)};
  fs::path folder = root_ / ".partial" / name;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return disk_error(folder, error);
  return folder;
}

Result<StoredModel> ModelStore::publish(StoredModel model) {
  const fs::path from = root_ / ".partial" / model.name;
  const fs::path to = root_ / model.name;
  json files = json::array();
  for (const StoredFile& file : model.files) {
    sync(from / file.name);
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  const json manifest = {{"name", model.name}, {"source", model.source}, {"licence", model.licence}, {"files", files}};
  if (const auto written = write_json(from / "model.json", manifest); !written) return written.error();
  std::error_code error;
  if (fs::exists(to, error)) return Error{ErrorCode::invalid_argument, fmt::format("there is a model '{}' already", model.name)};
  sync(from);
  fs::rename(from, to, error);
  if (error) return disk_error(to, error);
  sync(root_);
  model.folder = to;
  return model;
}

bool matches_pattern(const std::string& pattern, const std::string& text) {
  // The usual two-pointer walk: on a mismatch the last star takes one character more.
  std::size_t p = 0, t = 0, star = std::string::npos, taken = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      taken = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string::npos) {
      p = star + 1;
      t = ++taken;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace pensieve
