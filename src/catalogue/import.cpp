#include "catalogue/import.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "base/utf8.h"
#include "catalogue/checkpoint_plan.h"
#include "catalogue/digest.h"
#include "catalogue/gguf_header.h"
#include "catalogue/gguf_writer.h"
#include "catalogue/half.h"
#include "catalogue/json_text.h"
#include "catalogue/safetensors.h"
#include "catalogue/tokenizer_import.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kConfigBytesMax = 4u << 20;
constexpr std::uint64_t kDiskReserve = 256u << 20;
constexpr float kHalfMax = 65504;

struct Affine {  // w = scale * q + bias, for groups of a row's neighbours.
  std::uint64_t bits = 0;  // 0: plain numbers.
  std::uint64_t group = 0;
};

const json& at(const json& object, const std::string& key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

// Where one planned tensor's numbers come from and what becomes of them.
struct Source {
  PlannedTensor plan;
  const SafeTensor* weight = nullptr;
  const SafeTensor* scales = nullptr;
  const SafeTensor* biases = nullptr;
  Affine affine;
  GgmlType to = GgmlType::f32;
};

class Descriptors {  // The shards, opened once each.
 public:
  ~Descriptors() {
    for (const auto& [path, file] : open_) ::close(file);
  }
  Descriptors() = default;
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;

  bool read(const SafeTensor& tensor, std::uint64_t offset, std::span<std::uint8_t> into) {
    auto [place, is_new] = open_.try_emplace(tensor.file, -1);
    if (is_new) place->second = ::open(tensor.file.c_str(), O_RDONLY | O_CLOEXEC);
    for (std::size_t got = 0; got < into.size();) {
      const ssize_t count = ::pread(place->second, into.data() + got, into.size() - got, static_cast<off_t>(tensor.begin + offset + got));
      if (count <= 0) return false;
      got += static_cast<std::size_t>(count);
    }
    return true;
  }

 private:
  std::map<std::string, int> open_;
};

std::uint64_t width_of(TensorType type) { return type == TensorType::f32 || type == TensorType::u32 ? 4 : 2; }

float number_at(TensorType type, const std::uint8_t* bytes) {
  if (type == TensorType::f32) {
    float value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return type == TensorType::bf16 ? float_of_bf16(bits) : float_of_f16(bits);
}

std::string shape_text(const SafeTensor& tensor) {
  std::string text;
  for (const std::uint64_t size : tensor.shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

bool has_shape(const SafeTensor& tensor, std::initializer_list<std::uint64_t> shape) { return std::ranges::equal(tensor.shape, shape); }

// Rows and their encodings, with the measure of what was lost.
class Encoder {
 public:
  Encoder(ImportReport& report, GgufWriter& out) : report_(report), out_(out) {}

  Result<void> write(const Source& source) {
    source_ = &source;
    const std::uint64_t rows = std::max<std::uint64_t>(1, source.plan.rows);
    values_.resize(source.plan.columns);
    row_.resize(ggml_row_bytes(source.to, source.plan.columns));
    for (std::uint64_t row = 0; row < rows; ++row) {
      const bool good = source.affine.bits == 4 && source.to == GgmlType::q4_1 ? take_groups(place_of(row)) : read_row(place_of(row)) && encode_row();
      if (!good) return Error{ErrorCode::corrupt, fmt::format("'{}': the tensor '{}' cannot be read", source.weight->file, source.plan.from)};
      out_.write(row_);
    }
    out_.end_tensor();
    return {};
  }

 private:
  // Row `row` of the result is this row of the checkpoint: of a rotated head, first and second half take turns.
  std::uint64_t place_of(std::uint64_t row) const {
    if (source_->plan.rotated_heads == 0 || source_->plan.rows == 0) return row;
    const std::uint64_t height = source_->plan.rows / source_->plan.rotated_heads;
    const std::uint64_t in_head = row % height;
    return row - in_head + in_head % 2 * (height / 2) + in_head / 2;
  }

  bool read_part(const SafeTensor& tensor, std::uint64_t row, std::uint64_t count, std::vector<std::uint8_t>& into) {
    into.resize(count * width_of(tensor.type));
    return files_.read(tensor, row * into.size(), into);
  }

  bool read_groups(std::uint64_t row) {
    const std::uint64_t groups = source_->plan.columns / source_->affine.group;
    return read_part(*source_->weight, row, source_->plan.columns * source_->affine.bits / 32, packed_) && read_part(*source_->scales, row, groups, scales_) &&
           read_part(*source_->biases, row, groups, biases_);
  }

  float scale(std::uint64_t group) const { return number_at(source_->scales->type, scales_.data() + group * width_of(source_->scales->type)); }
  float bias(std::uint64_t group) const { return number_at(source_->biases->type, biases_.data() + group * width_of(source_->biases->type)); }
  // Little-endian words with the first number in the lowest bits: two to a byte, or a byte each.
  std::uint8_t level(std::uint64_t i) const {
    return source_->affine.bits == 8 ? packed_[i] : static_cast<std::uint8_t>(packed_[i / 2] >> (i % 2 * 4) & 15);
  }

  // Four-bit groups, value for value: the same levels, the scale and the bias as halves.
  bool take_groups(std::uint64_t row) {
    if (!read_groups(row)) return false;
    const std::uint64_t group = source_->affine.group;
    for (std::uint64_t block = 0; block < source_->plan.columns / 32; ++block) {
      const float s = scale(block * 32 / group);
      const float b = bias(block * 32 / group);
      const std::uint16_t halves[2] = {half(s), half(b)};
      std::uint8_t* to = row_.data() + block * 20;
      std::memcpy(to, halves, 4);
      std::uint8_t levels[32];
      for (std::uint64_t i = 0; i < 32; ++i) levels[i] = level(block * 32 + i);
      for (std::uint64_t i = 0; i < 16; ++i) to[4 + i] = static_cast<std::uint8_t>(levels[i] | levels[i + 16] << 4);
      const float ds = float_of_f16(halves[0]), db = float_of_f16(halves[1]);
      if (ds == s && db == b) continue;
      for (const std::uint8_t q : levels) note(static_cast<double>(ds) * q + static_cast<double>(db), static_cast<double>(s) * q + static_cast<double>(b));
    }
    return true;
  }

  bool read_row(std::uint64_t row) {
    if (source_->affine.bits != 0) {
      if (!read_groups(row)) return false;
      for (std::uint64_t i = 0; i < values_.size(); ++i) {
        const std::uint64_t group = i / source_->affine.group;
        values_[i] = scale(group) * static_cast<float>(level(i)) + bias(group);
      }
      return true;
    }
    if (!read_part(*source_->weight, row, values_.size(), packed_)) return false;
    const std::uint64_t height = source_->plan.rotated_heads == 0 ? 0 : values_.size() / source_->plan.rotated_heads;
    for (std::uint64_t i = 0; i < values_.size(); ++i) {
      std::uint64_t from = i;
      if (source_->plan.rows == 0 && height > 0) from = i - i % height + i % height % 2 * (height / 2) + i % height / 2;  // A rotated bias.
      values_[i] = number_at(source_->weight->type, packed_.data() + from * width_of(source_->weight->type));
    }
    return true;
  }

  bool encode_row() {
    for (const float value : values_) if (!std::isfinite(value)) return false;
    switch (source_->to) {
      case GgmlType::f32: std::memcpy(row_.data(), values_.data(), row_.size()); break;
      case GgmlType::f16:
      case GgmlType::bf16:
        for (std::size_t i = 0; i < values_.size(); ++i) {
          const bool brain = source_->to == GgmlType::bf16;
          const std::uint16_t bits = brain ? bf16_of(values_[i]) : half(values_[i]);
          std::memcpy(row_.data() + i * 2, &bits, 2);
          note(static_cast<double>(brain ? float_of_bf16(bits) : float_of_f16(bits)), static_cast<double>(values_[i]));
        }
        break;
      default:
        for (std::size_t block = 0; block < values_.size() / 32; ++block) encode_q8_0(std::span(values_).subspan(block * 32, 32), row_.data() + block * 34);
    }
    return true;
  }

  void encode_q8_0(std::span<const float> values, std::uint8_t* to) {
    float most = 0;
    for (const float value : values) most = std::max(most, std::fabs(value));
    const float step = most / 127;
    const std::uint16_t bits = half(step);
    const float inverse = step == 0 ? 0 : 1 / step;
    std::memcpy(to, &bits, 2);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto q = static_cast<std::int8_t>(std::clamp(std::round(values[i] * inverse), -127.0f, 127.0f));
      to[2 + i] = static_cast<std::uint8_t>(q);
      note(static_cast<double>(float_of_f16(bits)) * q, static_cast<double>(values[i]));
    }
  }

  std::uint16_t half(float value) {
    if (std::fabs(value) <= kHalfMax) return f16_of(value);
    if (report_.overflows++ == 0) report_.overflow_tensor = source_->plan.from;
    return f16_of(std::copysign(kHalfMax, value));
  }

  void note(double written, double meant) {
    if (const double error = std::fabs(written - meant); error > report_.error_max) {
      report_.error_max = error;
      report_.error_tensor = source_->plan.from;
    }
  }

  ImportReport& report_;
  GgufWriter& out_;
  Descriptors files_;
  const Source* source_ = nullptr;
  std::vector<std::uint8_t> packed_, scales_, biases_, row_;
  std::vector<float> values_;
};

Result<json> read_config(const std::string& folder) {
  const fs::path path = fs::path(folder) / "config.json";
  std::error_code error;
  if (!fs::is_directory(folder, error)) return Error{ErrorCode::not_found, fmt::format("DIR: '{}' is not a folder", folder)};
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error) return Error{ErrorCode::not_found, fmt::format("'{}' has no config.json", folder)};
  if (bytes > kConfigBytesMax) return Error{ErrorCode::too_large, fmt::format("'{}' has {} bytes; that is no configuration", path.string(), bytes)};
  std::ifstream in(path);
  json config = parse_json(std::string(std::istreambuf_iterator<char>(in), {}));
  if (!config.is_object()) return Error{ErrorCode::corrupt, fmt::format("'{}' is not a JSON object", path.string())};
  return config;
}

// How one module was quantised: by itself, or as all are.
Result<Affine> affine_of(const json& config, const std::string& module) {
  const json& all = at(config, "quantization").is_null() ? at(config, "quantization_config") : at(config, "quantization");
  if (!all.is_object()) return Error{ErrorCode::corrupt, fmt::format("config.json: quantization is missing, but '{}' has scales", module)};
  const json& own = at(all, module).is_object() ? at(all, module) : all;
  const json& mode = at(own, "mode").is_null() ? at(all, "mode") : at(own, "mode");
  if (!mode.is_null() && mode != "affine") return Error{ErrorCode::invalid_argument, "config.json: only affine quantisation is known here"};
  Affine affine;
  for (const auto& [key, into] : {std::pair("bits", &affine.bits), std::pair("group_size", &affine.group)}) {
    const json& value = at(own, key).is_null() ? at(all, key) : at(own, key);
    if (!value.is_number_unsigned()) return Error{ErrorCode::corrupt, fmt::format("config.json: quantization.{} is missing", key)};
    *into = value.get<std::uint64_t>();
  }
  if (affine.bits != 4 && affine.bits != 8) return Error{ErrorCode::invalid_argument, fmt::format("config.json: '{}' has {} bits; 4 and 8 are known here", module, affine.bits)};
  if (affine.group != 32 && affine.group != 64 && affine.group != 128) return Error{ErrorCode::invalid_argument, fmt::format("config.json: '{}' has groups of {}; 32, 64 and 128 are known here", module, affine.group)};
  return affine;
}

Result<Source> find_source(const PlannedTensor& plan, const SafeTensors& tensors, const json& config) {
  const auto find = [&](const std::string& name) {
    const auto found = tensors.find(name);
    return found == tensors.end() ? nullptr : &found->second;
  };
  Source source;
  source.plan = plan;
  source.weight = find(plan.from + (plan.is_bias ? ".bias" : ".weight"));
  if (source.weight == nullptr) return Error{ErrorCode::corrupt, fmt::format("the checkpoint has no '{}{}'; is it whole?", plan.from, plan.is_bias ? ".bias" : ".weight")};
  const auto misshapen = [&](const SafeTensor& tensor) { return Error{ErrorCode::corrupt, fmt::format("the tensor '{}' is {} ({}), which config.json does not fit", plan.from, shape_text(tensor), tensor.type_name)}; };
  if (source.weight->type == TensorType::u32 && plan.rows > 0) {
    source.scales = find(plan.from + ".scales");
    source.biases = find(plan.from + ".biases");
    if (source.scales == nullptr || source.biases == nullptr) return Error{ErrorCode::corrupt, fmt::format("the checkpoint has no scales and biases for '{}'", plan.from)};
    auto affine = affine_of(config, plan.from);
    if (!affine) return std::move(affine).error();
    source.affine = *affine;
    if (plan.columns % affine->group != 0 || !has_shape(*source.weight, {plan.rows, plan.columns * affine->bits / 32})) return misshapen(*source.weight);
    for (const SafeTensor* part : {source.scales, source.biases}) {
      if (!has_shape(*part, {plan.rows, plan.columns / affine->group}) || part->type == TensorType::u32 || part->type == TensorType::other) return misshapen(*part);
    }
    return source;
  }
  if (source.weight->type == TensorType::u32 || source.weight->type == TensorType::other) return misshapen(*source.weight);
  if (!(plan.rows > 0 ? has_shape(*source.weight, {plan.rows, plan.columns}) : has_shape(*source.weight, {plan.columns}))) return misshapen(*source.weight);
  return source;
}

GgmlType target_of(const Source& source, const std::string& quantisation) {
  if (source.plan.rows == 0) return GgmlType::f32;
  const bool blocks = source.plan.columns % 32 == 0;
  if (quantisation == "f16" || quantised_by_engine(quantisation)) return GgmlType::f16;
  if (quantisation == "bf16") return GgmlType::bf16;
  if (quantisation == "q8_0") return blocks ? GgmlType::q8_0 : GgmlType::f16;
  if (source.affine.bits == 4) return GgmlType::q4_1;
  if (source.affine.bits == 8) return GgmlType::q8_0;
  return source.weight->type == TensorType::bf16 ? GgmlType::bf16 : source.weight->type == TensorType::f16 ? GgmlType::f16 : GgmlType::f32;
}

// Every tensor of the checkpoint must be known: one that is left out is a model that says something else.
Result<void> check_all_used(const SafeTensors& tensors, const std::vector<Source>& sources, bool tied) {
  std::set<std::string> used;
  for (const Source& source : sources) {
    const std::string& from = source.plan.from;
    used.insert({from + (source.plan.is_bias ? ".bias" : ".weight")});
    if (source.affine.bits != 0) used.insert({from + ".scales", from + ".biases"});
  }
  for (const auto& [name, tensor] : tensors) {
    const bool known = used.contains(name) || name.ends_with("rotary_emb.inv_freq") || (tied && name.starts_with("lm_head."));
    if (!known) return Error{ErrorCode::invalid_argument, fmt::format("the checkpoint has a tensor '{}', which this architecture is not known to have", utf8_sanitise(name.substr(0, 100)))};
  }
  return {};
}

void set_tokenizer(GgufWriter& out, const ImportedTokenizer& tokenizer) {
  out.set("tokenizer.ggml.model", tokenizer.model);
  out.set("tokenizer.ggml.pre", tokenizer.pre);
  out.set("tokenizer.ggml.tokens", std::span<const std::string>(tokenizer.texts));
  out.set("tokenizer.ggml.token_type", std::span<const std::int32_t>(tokenizer.types));
  if (tokenizer.model == "gpt2") out.set("tokenizer.ggml.merges", std::span<const std::string>(tokenizer.merges));
  else out.set("tokenizer.ggml.scores", std::span<const float>(tokenizer.scores));
  const auto set_token = [&](const char* key, const std::optional<std::uint32_t>& token) {
    if (token) out.set(key, *token);
  };
  set_token("tokenizer.ggml.bos_token_id", tokenizer.begin_token);
  set_token("tokenizer.ggml.eos_token_id", tokenizer.end_token);
  set_token("tokenizer.ggml.unknown_token_id", tokenizer.unknown_token);
  set_token("tokenizer.ggml.padding_token_id", tokenizer.padding_token);
  out.set("tokenizer.ggml.add_bos_token", tokenizer.adds_begin);
  out.set("tokenizer.ggml.add_eos_token", tokenizer.adds_end);
  if (tokenizer.model == "llama") out.set("tokenizer.ggml.add_space_prefix", tokenizer.adds_space);
  if (!tokenizer.chat_template.empty()) out.set("tokenizer.chat_template", tokenizer.chat_template);
}

// The engine treats models by the name of Phi-3 as Phi-3, looks these markers up, and does not load a model without them.
std::string safe_title(const std::string& title, const ImportedTokenizer& tokenizer) {
  std::string lower;
  for (const char c : title) lower.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  if (lower.find("phi3") == std::string::npos && lower.find("phi-3") == std::string::npos) return title;
  for (const char* marker : {"<unk>", "<s>", "</s>", "<|endoftext|>"}) {
    if (std::ranges::find(tokenizer.texts, marker) == tokenizer.texts.end()) return "imported model";
  }
  return title;
}

struct Prepared {
  CheckpointPlan plan;
  SafeTensors tensors;
  std::vector<Source> sources;
  GgufWriter out;
};

Result<std::unique_ptr<Prepared>> prepare(const ImportOptions& options, const std::string& title, ImportReport& report) {
  const auto config = read_config(options.folder);
  if (!config) return config.error();
  auto prepared = std::make_unique<Prepared>();
  auto plan = plan_checkpoint(*config);
  if (!plan) return std::move(plan).error();
  prepared->plan = *std::move(plan);
  auto tokenizer = import_tokenizer(options.folder, prepared->plan.vocabulary);
  if (!tokenizer) return std::move(tokenizer).error();
  auto tensors = read_checkpoint(options.folder);
  if (!tensors) return std::move(tensors).error();
  prepared->tensors = *std::move(tensors);
  for (const PlannedTensor& planned : prepared->plan.tensors) {
    auto source = find_source(planned, prepared->tensors, *config);
    if (!source) return std::move(source).error();
    source->to = target_of(*source, options.quantisation);
    if (source->affine.bits != 0) report.quantised_weights += planned.rows * planned.columns;
    prepared->sources.push_back(*std::move(source));
  }
  if (const auto used = check_all_used(prepared->tensors, prepared->sources, at(*config, "tie_word_embeddings") == true); !used) return used.error();
  report.architecture = prepared->plan.architecture;
  report.tensors = prepared->sources.size() + prepared->plan.computed.size();
  report.has_template = !tokenizer->chat_template.empty();
  report.cuts_marks_otherwise = tokenizer->pre == "tekken" || tokenizer->pre == "gpt-4o";  // Seen in tests/conformance/mlx_import.py.

  GgufWriter& out = prepared->out;
  out.set("general.architecture", prepared->plan.architecture);
  out.set("general.name", safe_title(title, *tokenizer));
  out.set("general.quantization_version", std::uint32_t{2});
  // NOLINTNEXTLINE(clang-analyzer-core.CallAndMessage): the analyser does not see into variants.
  for (const auto& [key, value] : prepared->plan.numbers) std::visit([&](const auto& each) { out.set(key, each); }, value);
  set_tokenizer(out, *tokenizer);
  for (const ComputedTensor& tensor : prepared->plan.computed) out.add_tensor(tensor.to, GgmlType::f32, std::array{std::uint64_t{tensor.values.size()}});
  for (const Source& source : prepared->sources) {
    if (source.plan.rows > 0) out.add_tensor(source.plan.to, source.to, std::array{source.plan.columns, source.plan.rows});
    else out.add_tensor(source.plan.to, source.to, std::array{source.plan.columns});
  }
  return prepared;
}

Result<void> write_file(Prepared& prepared, const std::string& path, ImportReport& report, const std::function<void(std::uint64_t, std::uint64_t)>& on_progress) {
  if (const auto begun = prepared.out.begin(path); !begun) return begun;
  for (const ComputedTensor& tensor : prepared.plan.computed) {
    prepared.out.write({reinterpret_cast<const std::uint8_t*>(tensor.values.data()), tensor.values.size() * sizeof(float)});
    prepared.out.end_tensor();
  }
  Encoder encoder(report, prepared.out);
  for (std::size_t i = 0; i < prepared.sources.size(); ++i) {
    if (const auto written = encoder.write(prepared.sources[i]); !written) return written;
    on_progress(i + 1, prepared.sources.size());
  }
  return prepared.out.finish();
}

}  // namespace

bool quantised_by_engine(const std::string& name) {
  static const std::set<std::string> kNames = {"q4_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k"};
  return kNames.contains(name);
}

bool known_quantisation(const std::string& name) { return name.empty() || name == "f16" || name == "bf16" || name == "q8_0" || quantised_by_engine(name); }

Result<ImportReport> import_checkpoint(ModelStore& store, const ImportOptions& options, const std::function<void(std::uint64_t, std::uint64_t)>& on_progress) {
  if (!known_quantisation(options.quantisation)) return Error{ErrorCode::invalid_argument, fmt::format("--quant: '{}' is none of f16, bf16, q8_0, q4_0, q4_k_s, q4_k_m, q5_k_m, q6_k", options.quantisation)};
  std::error_code error;
  const std::string title = options.source.empty() ? fs::weakly_canonical(options.folder, error).filename().string() : options.source.substr(options.source.rfind('/') + 1);
  const std::string name = options.name.empty() ? ModelStore::name_from(title) : options.name;
  if (!ModelStore::valid_name(name)) return Error{ErrorCode::invalid_argument, fmt::format("--name: '{}' cannot be a model's name: lower-case letters, digits, '.', '_' and '-'", name)};
  if (store.find(name)) return Error{ErrorCode::invalid_argument, fmt::format("there is a model '{0}' already: 'pensieve rm {0}' first, or give --name", name)};
  ImportReport report;
  auto prepared = prepare(options, utf8_sanitise(title), report);
  if (!prepared) return std::move(prepared).error();
  const auto folder = store.staging(name);
  if (!folder) return folder.error();
  const auto abandon = [&](Error why) {
    fs::remove_all(*folder, error);
    return why;
  };
  const std::uint64_t bytes = (*prepared)->out.file_bytes();
  const fs::space_info space = fs::space(*folder, error);
  const std::uint64_t needed = quantised_by_engine(options.quantisation) ? bytes + bytes / 2 : bytes;
  if (!error && space.available < needed + kDiskReserve) {
    return abandon({ErrorCode::too_large, fmt::format("'{}' has {:.2f} GB free; {:.2f} GB are needed and {:.2f} GB are left alone", folder->string(), static_cast<double>(space.available) / 1e9,
                                                      static_cast<double>(needed) / 1e9, static_cast<double>(kDiskReserve) / 1e9)});
  }
  const std::string file = name + ".gguf";
  const std::string path = (*folder / file).string();
  const bool by_engine = quantised_by_engine(options.quantisation);
  const std::string first = by_engine ? path + ".f16" : path;
  if (const auto written = write_file(**prepared, first, report, on_progress); !written) return abandon(written.error());
  if (by_engine) {
    if (const auto quantised = options.quantise(first, path, options.quantisation); !quantised) return abandon(quantised.error());
    fs::remove(first, error);
  }
  if (const auto header = read_gguf_header(path); !header) return abandon(header.error());
  auto hash = digest_of_file(path, DigestKind::sha256);
  if (!hash) return abandon(hash.error());
  auto published = store.publish({name, options.source.empty() ? "import:" + title : options.source, "", {{file, fs::file_size(path, error), *hash}}, {}});
  if (!published) return abandon(published.error());
  report.model = *std::move(published);
  return report;
}

}  // namespace pensieve
