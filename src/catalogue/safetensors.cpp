#include "catalogue/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/utf8.h"
#include "catalogue/json_text.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kHeaderBytesMax = 64u << 20;
constexpr std::size_t kTensorsMax = 1u << 20;
constexpr std::size_t kDimsMax = 8;
constexpr std::uint64_t kElementsMax = std::uint64_t{1} << 48;
constexpr std::size_t kShardsMax = 4096;

Error corrupt(std::string message) { return {ErrorCode::corrupt, "not a usable safetensors file: " + std::move(message)}; }

// Names come from the file: printable, and short, in a message.
std::string shown(const std::string& name) {
  std::string text = utf8_sanitise(name.size() <= 80 ? name : name.substr(0, 80) + "...");
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return text;
}

struct Kind {
  const char* name;
  TensorType type;
  std::uint64_t bits;
};
constexpr Kind kKinds[] = {
    {"F32", TensorType::f32, 32}, {"F16", TensorType::f16, 16}, {"BF16", TensorType::bf16, 16}, {"U32", TensorType::u32, 32}, {"F64", TensorType::other, 64},
    {"I64", TensorType::other, 64}, {"U64", TensorType::other, 64}, {"I32", TensorType::other, 32}, {"I16", TensorType::other, 16}, {"U16", TensorType::other, 16},
    {"I8", TensorType::other, 8}, {"U8", TensorType::other, 8}, {"BOOL", TensorType::other, 8}, {"F8_E4M3", TensorType::other, 8}, {"F8_E5M2", TensorType::other, 8},
};

Result<SafeTensor> read_tensor(const std::string& name, const json& entry, std::uint64_t data_begin, std::uint64_t data_bytes) {
  const auto wrong = [&](const std::string& what) { return corrupt(fmt::format("the tensor '{}' {}", shown(name), what)); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() || !entry.contains("shape") || !entry["shape"].is_array() ||
      !entry.contains("data_offsets") || !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
    return wrong("has not dtype, shape and two data_offsets");
  }
  SafeTensor tensor;
  tensor.type_name = entry["dtype"].get<std::string>();
  const auto kind = std::ranges::find_if(kKinds, [&](const Kind& each) { return tensor.type_name == each.name; });
  if (kind == std::end(kKinds)) return wrong(fmt::format("has the unknown dtype '{}'", shown(tensor.type_name)));
  tensor.type = kind->type;
  if (entry["shape"].size() > kDimsMax) return wrong(fmt::format("has {} dimensions", entry["shape"].size()));
  std::uint64_t elements = 1;
  for (const json& size : entry["shape"]) {
    if (!size.is_number_unsigned()) return wrong("has a shape that is not of whole numbers");
    const auto count = size.get<std::uint64_t>();
    if (count != 0 && elements > kElementsMax / count) return wrong("has an absurd shape");
    elements *= count;
    tensor.shape.push_back(count);
  }
  for (const json& offset : entry["data_offsets"]) {
    if (!offset.is_number_unsigned()) return wrong("has offsets that are not whole numbers");
  }
  const auto begin = entry["data_offsets"][0].get<std::uint64_t>();
  const auto end = entry["data_offsets"][1].get<std::uint64_t>();
  if (begin > end || end > data_bytes) return wrong(fmt::format("lies at {} to {}, outside the file's {} bytes of data (is it cut short?)", begin, end, data_bytes));
  tensor.bytes = end - begin;
  if (tensor.bytes != elements * kind->bits / 8) return wrong(fmt::format("has {} bytes, its shape needs {}", tensor.bytes, elements * kind->bits / 8));
  tensor.begin = data_begin + begin;
  return tensor;
}

Result<void> check_overlaps(const SafeTensors& tensors) {
  std::vector<std::pair<std::uint64_t, const SafeTensors::value_type*>> order;
  for (const auto& tensor : tensors) order.emplace_back(tensor.second.begin, &tensor);
  std::ranges::sort(order, {}, [](const auto& each) { return each.first; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const SafeTensor& earlier = order[i - 1].second->second;
    if (earlier.begin + earlier.bytes > order[i].first && order[i].second->second.bytes > 0) {
      return corrupt(fmt::format("the tensors '{}' and '{}' share bytes", shown(order[i - 1].second->first), shown(order[i].second->first)));
    }
  }
  return {};
}

Result<std::vector<std::string>> shards_of(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  const fs::path index = folder / "model.safetensors.index.json";
  if (fs::exists(index, error)) {
    if (fs::file_size(index, error) > kHeaderBytesMax || error) return Error{ErrorCode::too_large, fmt::format("'{}' is too large", index.string())};
    std::ifstream in(index);
    const json value = parse_json(std::string(std::istreambuf_iterator<char>(in), {}));
    if (!value.is_object() || !value.contains("weight_map") || !value["weight_map"].is_object()) return Error{ErrorCode::corrupt, fmt::format("'{}' has no weight_map", index.string())};
    for (const json& shard : value["weight_map"]) {
      if (!shard.is_string()) return Error{ErrorCode::corrupt, fmt::format("'{}': the weight_map does not name files", index.string())};
      const std::string name = shard.get<std::string>();
      if (name.empty() || name != fs::path(name).filename() || name.starts_with('.') || !name.ends_with(".safetensors")) {
        return Error{ErrorCode::corrupt, fmt::format("'{}' names a shard '{}', which is not a file of this folder", index.string(), shown(name))};
      }
      names.insert(name);
      if (names.size() > kShardsMax) return Error{ErrorCode::corrupt, fmt::format("'{}' names more than {} shards", index.string(), kShardsMax)};
    }
  } else {
    for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      const std::string name = at->path().filename().string();
      if (name.ends_with(".safetensors") && !name.starts_with('.') && names.size() < kShardsMax) names.insert(name);
    }
  }
  if (names.empty()) return Error{ErrorCode::not_found, fmt::format("'{}' has no *.safetensors", folder.string())};
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace

Result<SafeTensors> read_safetensors_header(std::istream& in, std::uint64_t file_bytes) {
  std::uint64_t length = 0;
  if (file_bytes < sizeof length || !in.read(reinterpret_cast<char*>(&length), sizeof length)) return corrupt("it is shorter than its first number");
  if (length > file_bytes - sizeof length) return corrupt(fmt::format("its header claims {} bytes, the file has {}", length, file_bytes));
  if (length > kHeaderBytesMax) return corrupt(fmt::format("its header has {} bytes; at most {} are sensible", length, kHeaderBytesMax));
  std::string text(length, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(length))) return corrupt("its header cannot be read");
  const json header = parse_json(text);
  if (!header.is_object()) return corrupt("its header is not a JSON object");
  if (header.size() > kTensorsMax) return corrupt(fmt::format("it claims {} tensors", header.size()));
  SafeTensors tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    if (!utf8_valid(name)) return corrupt("a tensor's name is not UTF-8");
    auto tensor = read_tensor(name, entry, sizeof length + length, file_bytes - sizeof length - length);
    if (!tensor) return std::move(tensor).error();
    tensors.emplace(name, *std::move(tensor));
  }
  if (const auto apart = check_overlaps(tensors); !apart) return apart.error();
  return tensors;
}

Result<SafeTensors> read_checkpoint(const std::string& folder) {
  const auto shards = shards_of(folder);
  if (!shards) return shards.error();
  SafeTensors all;
  for (const std::string& shard : *shards) {
    const std::string path = (fs::path(folder) / shard).string();
    std::error_code error;
    const std::uint64_t bytes = fs::file_size(path, error);
    std::ifstream in(path, std::ios::binary);
    if (error || !in) return Error{ErrorCode::not_found, fmt::format("'{}' cannot be read: the checkpoint is not whole", path)};
    auto tensors = read_safetensors_header(in, bytes);
    if (!tensors) return Error{tensors.error().code, fmt::format("'{}': {}", path, tensors.error().message)};
    for (auto& [name, tensor] : *tensors) {
      tensor.file = path;
      if (!all.emplace(name, std::move(tensor)).second) return Error{ErrorCode::corrupt, fmt::format("the tensor '{}' is in two shards", shown(name))};
    }
  }
  return all;
}

}  // namespace pensieve
