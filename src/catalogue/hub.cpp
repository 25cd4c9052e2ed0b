#include "catalogue/hub.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>

#include "base/utf8.h"
#include "catalogue/json_text.h"

namespace pensieve {
namespace {

using nlohmann::json;

constexpr std::size_t kFilesMax = 100'000;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 44;  // 16 TiB.

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool safe_path(const std::string& path) {
  if (path.empty() || path.size() > 1024 || path[0] == '/' || !utf8_valid(path)) return false;
  if (std::ranges::any_of(path, [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; })) return false;
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool hexadecimal(const std::string& text, std::size_t length) {
  return text.size() == length && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0 || (c >= 'a' && c <= 'f'); });
}

bool good_name(const std::string& text) {
  return !text.empty() && text.size() <= 96 && text != "." && text != ".." &&
         std::ranges::all_of(text, [](unsigned char c) { return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-'; });
}

std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::strchr("-._~/", c) != nullptr) text.push_back(c);
    else text += fmt::format("%{:02X}", byte);
  }
  return text;
}

// "Q4_K_M" of "Model-7B-Q4_K_M.gguf" or "Q4_K_M/model-00001-of-00002.gguf": the last that looks like one.
std::string quantisation_of(const std::string& path) {
  static const std::regex kQuantisation("(^|[^a-z0-9])((iq|q|tq)[0-9]+(_[a-z0-9]+)*|bf16|f16|fp16|f32|mxfp4(_moe)?)(?=[^a-z0-9]|$)", std::regex::icase);
  std::string found;
  for (std::sregex_iterator at(path.begin(), path.end(), kQuantisation), end; at != end; ++at) found = (*at)[2];
  std::ranges::transform(found, found.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return found;
}

struct Group {  // A file, or all the parts of one that was split.
  std::string name;
  std::string quantisation;
  std::size_t parts = 1;
  std::vector<HubFile> files;
};

std::vector<Group> groups_of(const std::vector<HubFile>& files) {
  static const std::regex kPart(R"((.*)-([0-9]{5})-of-([0-9]{5})\.gguf)", std::regex::icase);
  std::map<std::string, Group> groups;
  for (const HubFile& file : files) {
    const std::string name = lower(file.name());
    if (!name.ends_with(".gguf") || name.starts_with("mmproj") || name.find("imatrix") != std::string::npos) continue;
    std::smatch match;
    const bool is_part = std::regex_match(file.path, match, kPart);
    Group& group = groups[is_part ? match[1].str() + ".gguf" : file.path];
    group.name = is_part ? match[1].str() + ".gguf" : file.path;
    group.quantisation = quantisation_of(group.name);
    if (is_part) group.parts = std::stoul(match[3].str());
    group.files.push_back(file);
  }
  std::vector<Group> list;
  for (auto& [name, group] : groups) {
    std::ranges::sort(group.files, {}, &HubFile::path);
    list.push_back(std::move(group));
  }
  return list;
}

std::string listed(const std::vector<Group>& groups) {
  std::vector<std::string> names;
  for (const Group& group : groups) names.push_back(group.quantisation.empty() ? group.name : group.quantisation);
  if (names.size() > 30) names.resize(30);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::string HubFile::name() const { return path.substr(path.rfind('/') + 1); }

Result<HubReference> parse_hub_reference(const std::string& text) {
  const std::string rest = text.starts_with("hf:") ? text.substr(3) : text;
  HubReference reference;
  const std::size_t slash = rest.find('/');
  const std::size_t colon = rest.find(':', slash == std::string::npos ? 0 : slash);
  reference.repository = rest.substr(0, colon);
  if (colon != std::string::npos) reference.quantisation = rest.substr(colon + 1);
  if (slash == std::string::npos || !good_name(rest.substr(0, slash)) || !good_name(reference.repository.substr(slash + 1)) ||
      (colon != std::string::npos && !good_name(reference.quantisation))) {
    return Error{ErrorCode::invalid_argument, fmt::format("'{}' is not of the form hf:OWNER/REPO or hf:OWNER/REPO:QUANT", utf8_sanitise(text))};
  }
  return reference;
}

Result<std::vector<HubFile>> parse_hub_tree(const std::string& text) {
  const json tree = parse_json(text);
  if (!tree.is_array() || tree.size() > kFilesMax) return Error{ErrorCode::corrupt, "the hub's list of files is not a JSON list"};
  std::vector<HubFile> files;
  for (const json& entry : tree) {
    if (!entry.is_object()) return Error{ErrorCode::corrupt, "the hub's list of files has an entry that is no object"};
    const auto field = [](const json& object, const char* key) { return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : std::string(); };
    if (field(entry, "type") != "file") continue;
    HubFile file;
    file.path = field(entry, "path");
    if (!safe_path(file.path)) return Error{ErrorCode::corrupt, fmt::format("the hub names a file '{}', which this does not write", utf8_sanitise(file.path.substr(0, 100)))};
    const bool large = entry.contains("lfs") && entry["lfs"].is_object();
    const json& sized = large && entry["lfs"].contains("size") ? entry["lfs"] : entry;
    if (!sized.contains("size") || !sized["size"].is_number_integer() || sized["size"].get<std::int64_t>() < 0 || sized["size"].get<std::uint64_t>() > kFileBytesMax) {
      return Error{ErrorCode::corrupt, fmt::format("the hub gives no sensible size for '{}'", file.path)};
    }
    file.bytes = sized["size"].get<std::uint64_t>();
    if (large) {
      file.sha256 = lower(field(entry["lfs"], "oid"));
      if (file.sha256.starts_with("sha256:")) file.sha256.erase(0, 7);
      if (!hexadecimal(file.sha256, 64)) return Error{ErrorCode::corrupt, fmt::format("the hub gives no SHA-256 for '{}'", file.path)};
    } else if (const std::string hash = field(entry, "oid"); hexadecimal(hash, 40)) {
      file.git_hash = hash;
    }
    files.push_back(std::move(file));
  }
  return files;
}

Result<HubSelection> select_files(const std::vector<HubFile>& files, const std::string& quantisation) {
  const std::vector<Group> groups = groups_of(files);
  if (groups.empty()) return Error{ErrorCode::invalid_argument, "it has no GGUF file"};
  std::vector<const Group*> chosen;
  const auto choose = [&](const auto& fits) {
    if (!chosen.empty()) return;
    for (const Group& group : groups) {
      if (fits(group)) chosen.push_back(&group);
    }
  };
  if (!quantisation.empty()) {
    const std::string wanted = lower(quantisation);
    choose([&](const Group& group) { return lower(group.quantisation) == wanted; });
    choose([&](const Group& group) { return lower(group.name) == wanted; });
    choose([&](const Group& group) { return lower(group.name).find(wanted) != std::string::npos; });
  } else {
    if (groups.size() == 1) chosen.push_back(&groups.front());
    for (const char* usual : {"Q4_K_M", "MXFP4", "Q4_K_S", "Q4_0", "Q4_1", "Q5_K_M", "Q8_0"}) choose([&](const Group& group) { return group.quantisation == usual; });
  }
  if (chosen.empty()) {
    return Error{ErrorCode::invalid_argument, quantisation.empty() ? fmt::format("say which of its files: {}", listed(groups))
                                                                   : fmt::format("it has no '{}'; it has {}", quantisation, listed(groups))};
  }
  // The same in several folders: the one whose name is shortest is the plain one.
  const Group& group = **std::ranges::min_element(chosen, {}, [](const Group* each) { return each->name.size(); });
  if (group.files.size() != group.parts) return Error{ErrorCode::corrupt, fmt::format("'{}' was split in {} parts, {} are there", group.name, group.parts, group.files.size())};
  return HubSelection{group.files, group.quantisation};
}

std::vector<HubFile> checkpoint_files(const std::vector<HubFile>& files) {
  static const std::set<std::string> kParts = {"config.json",        "tokenizer.model",      "tokenizer.json",      "tokenizer_config.json",
                                               "added_tokens.json",  "chat_template.jinja",  "chat_template.json",  "model.safetensors.index.json"};
  std::vector<HubFile> chosen;
  bool configured = false;
  bool weighty = false;
  for (const HubFile& file : files) {
    const bool weights = file.path.find('/') == std::string::npos && file.path.ends_with(".safetensors") && !file.path.starts_with('.');
    if (!weights && !kParts.contains(file.path)) continue;
    configured = configured || file.path == "config.json";
    weighty = weighty || weights;
    chosen.push_back(file);
  }
  if (!configured || !weighty) chosen.clear();
  return chosen;
}

std::string tree_url(const std::string& endpoint, const std::string& repository) { return fmt::format("{}/api/models/{}/tree/main?recursive=true", endpoint, repository); }

std::string file_url(const std::string& endpoint, const std::string& repository, const std::string& path) {
  return fmt::format("{}/{}/resolve/main/{}", endpoint, repository, escaped(path));
}

std::string next_page(const std::string& link_header) {
  static const std::regex kNext(R"re(<([^>]*)>\s*;\s*rel="?next"?)re");
  std::smatch match;
  return std::regex_search(link_header, match, kNext) ? match[1].str() : std::string();
}

}  // namespace pensieve
