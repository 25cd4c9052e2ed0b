// pensieve-make-model: writes a GGUF with seeded random weights in the exact
// shapes of a real model. Bytes, speed and memory are those of the real one; the
// text it says is noise. The same arguments write the same bytes.
//
// Memory stays at one tensor's row bank, whatever the size: each large matrix
// repeats a bank of 64 random rows in random order, which to the kernels is as
// good as all-random and far faster to make. Small matrices are all-random, so
// that in the tiny models every row matters to what comes out.
#include <CLI/CLI.hpp>
#include <ggml.h>
#include <gguf.h>

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "projector.h"
#include "shapes.h"

namespace {

using namespace pensieve;

constexpr std::size_t kBankRows = 64;
constexpr std::int64_t kAllRandomMax = 1 << 21;  // Elements.

using GgufHandle = std::unique_ptr<gguf_context, decltype(&gguf_free)>;

struct File {
  explicit File(std::FILE* f) : file(f) {}
  ~File() {
    if (file != nullptr) std::fclose(file);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  std::FILE* file;
};

void set_number(gguf_context* gguf, const std::string& key, const KeyValue& value) {
  if (const auto* integer = std::get_if<std::uint32_t>(&value)) gguf_set_val_u32(gguf, key.c_str(), *integer);
  else if (const auto* real = std::get_if<float>(&value)) gguf_set_val_f32(gguf, key.c_str(), *real);
  else if (const auto* truth = std::get_if<bool>(&value)) gguf_set_val_bool(gguf, key.c_str(), *truth);
  else if (const auto* list = std::get_if<std::vector<std::int32_t>>(&value)) gguf_set_arr_data(gguf, key.c_str(), GGUF_TYPE_INT32, list->data(), list->size());
}

void set_tokenizer(gguf_context* gguf, const Vocabulary& vocabulary) {
  const auto set_texts = [&](const char* key, const std::vector<std::string>& list) {
    std::vector<const char*> texts;
    for (const std::string& text : list) texts.push_back(text.c_str());
    gguf_set_arr_str(gguf, key, texts.data(), texts.size());
  };
  const auto set_token = [&](const char* key, std::int32_t token) {
    if (token >= 0) gguf_set_val_u32(gguf, key, static_cast<std::uint32_t>(token));
  };
  gguf_set_val_str(gguf, "tokenizer.ggml.model", vocabulary.model.c_str());
  gguf_set_val_str(gguf, "tokenizer.ggml.pre", vocabulary.pre.c_str());
  set_texts("tokenizer.ggml.tokens", vocabulary.texts);
  gguf_set_arr_data(gguf, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocabulary.types.data(), vocabulary.types.size());
  if (vocabulary.merges.empty()) gguf_set_arr_data(gguf, "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocabulary.scores.data(), vocabulary.scores.size());
  else set_texts("tokenizer.ggml.merges", vocabulary.merges);
  set_token("tokenizer.ggml.bos_token_id", vocabulary.begin_token);
  set_token("tokenizer.ggml.eos_token_id", vocabulary.end_token);
  set_token("tokenizer.ggml.unknown_token_id", vocabulary.unknown_token);
  set_token("tokenizer.ggml.seperator_token_id", vocabulary.separator_token);  // GGUF spells it so.
  set_token("tokenizer.ggml.padding_token_id", vocabulary.padding_token);
  set_token("tokenizer.ggml.mask_token_id", vocabulary.mask_token);
  if (vocabulary.model == "bert") {
    set_token("tokenizer.ggml.cls_token_id", vocabulary.begin_token);
    gguf_set_val_u32(gguf, "tokenizer.ggml.token_type_count", static_cast<std::uint32_t>(kTokenTypes));
  }
  gguf_set_val_bool(gguf, "tokenizer.ggml.add_bos_token", vocabulary.adds_begin);
  if (vocabulary.adds_end) gguf_set_val_bool(gguf, "tokenizer.ggml.add_eos_token", true);
  if (!vocabulary.chat_template.empty()) gguf_set_val_str(gguf, "tokenizer.chat_template", vocabulary.chat_template.c_str());
}

// K-quants pack 256 numbers of a row; rows of another length take what the engine's own quantiser takes then.
ggml_type type_for(const TensorShape& tensor, const std::string& quantisation) {
  if (tensor.precision == Precision::full) return GGML_TYPE_F32;
  if (quantisation == "f16") return GGML_TYPE_F16;
  if (quantisation == "q8_0") return GGML_TYPE_Q8_0;
  if (quantisation.starts_with("q4_") && quantisation != "q4_k") return tensor.precision == Precision::output ? GGML_TYPE_Q8_0 : quantisation == "q4_0" ? GGML_TYPE_Q4_0 : GGML_TYPE_Q4_1;
  const bool packs = tensor.dims[0] % 256 == 0;
  if (tensor.precision == Precision::output) return packs ? GGML_TYPE_Q6_K : GGML_TYPE_Q8_0;
  return packs ? GGML_TYPE_Q4_K : GGML_TYPE_Q5_0;
}

void fill(std::vector<float>& values, Fill kind, std::int64_t row_values, std::mt19937_64& random) {
  const auto count = static_cast<float>(values.size());
  std::normal_distribution<float> normal(0, 1.0f / std::sqrt(static_cast<float>(row_values)));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float along = static_cast<float>(i) / count;
    switch (kind) {
      case Fill::ones: values[i] = 1; break;
      case Fill::normal: values[i] = normal(random); break;
      case Fill::decay: values[i] = -1 - 15 * along; break;
      case Fill::slow: values[i] = -4; break;
      case Fill::ramp: values[i] = 1 + 31 * along; break;
    }
  }
}

bool write_tensor(std::FILE* out, const ggml_tensor* tensor, Fill kind, std::mt19937_64& random, std::size_t alignment) {
  const std::int64_t row_values = tensor->ne[0];
  const std::size_t row_bytes = ggml_row_size(tensor->type, row_values);
  const auto rows = static_cast<std::size_t>(ggml_nelements(tensor) / row_values);
  const bool whole = ggml_nelements(tensor) <= kAllRandomMax;
  const std::size_t bank_rows = whole ? rows : kBankRows;
  std::vector<float> values(static_cast<std::size_t>(row_values) * bank_rows);
  fill(values, kind, row_values, random);
  std::vector<std::uint8_t> bank(row_bytes * bank_rows);
  ggml_quantize_chunk(tensor->type, values.data(), bank.data(), 0, static_cast<std::int64_t>(bank_rows), row_values, nullptr);
  bool good = true;
  for (std::size_t row = 0; row < rows && good; ++row) {
    const std::size_t pick = whole ? row : random() % bank_rows;
    good = std::fwrite(bank.data() + pick * row_bytes, row_bytes, 1, out) == 1;
  }
  const std::size_t padding = (alignment - ggml_nbytes(tensor) % alignment) % alignment;
  for (std::size_t i = 0; i < padding; ++i) good = good && std::fputc(0, out) != EOF;
  return good;
}

bool write_tensors(const std::string& path, const std::vector<ggml_tensor*>& tensors, const Blueprint& blueprint, std::uint64_t seed, std::size_t alignment) {
  const File out(std::fopen(path.c_str(), "ab"));
  if (out.file == nullptr) return false;
  std::mt19937_64 random(seed);
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (!write_tensor(out.file, tensors[i], blueprint.tensors[i].fill, random, alignment)) return false;
    if (terminal) std::cerr << fmt::format("\r{}: {}/{} tensors", path, i + 1, tensors.size()) << std::flush;
  }
  if (terminal) std::cerr << '\n';
  return std::fflush(out.file) == 0;
}

// Everything of `gguf` but the tensors is set. `path` appears when it is whole.
int write(gguf_context* gguf, const Blueprint& blueprint, const std::string& path, const std::string& quantisation, std::uint64_t seed) {
  const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init({std::size_t{16} << 20, nullptr, true}), ggml_free);
  std::vector<ggml_tensor*> tensors;
  for (const TensorShape& wanted : blueprint.tensors) {
    ggml_tensor* tensor = ggml_new_tensor(context.get(), type_for(wanted, quantisation), static_cast<int>(wanted.dims.size()), wanted.dims.data());
    ggml_set_name(tensor, wanted.name.c_str());
    gguf_add_tensor(gguf, tensor);
    tensors.push_back(tensor);
  }

  const std::string unfinished = path + ".part";
  if (!gguf_write_to_file(gguf, unfinished.c_str(), true)) {
    std::cerr << "pensieve-make-model: '" << unfinished << "' cannot be written\n";
    return 1;
  }
  if (!write_tensors(unfinished, tensors, blueprint, seed, gguf_get_alignment(gguf)) || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    std::remove(unfinished.c_str());
    std::cerr << "pensieve-make-model: '" << path << "' could not be written whole (disk full?)\n";
    return 1;
  }
  return 0;
}

int make(const Shape& shape, const std::string& path, const std::string& quantisation, std::uint64_t seed) {
  const Blueprint blueprint = blueprint_of(shape);
  const GgufHandle gguf(gguf_init_empty(), gguf_free);
  gguf_set_val_str(gguf.get(), "general.architecture", shape.architecture);
  gguf_set_val_str(gguf.get(), "general.name", shape.title);
  for (const auto& [key, value] : blueprint.numbers) set_number(gguf.get(), fmt::format("{}.{}", shape.architecture, key), value);
  Vocabulary vocabulary = make_vocabulary(shape.family, shape.vocabulary);
  vocabulary.adds_end = shape.pooling == Pooling::last;
  set_tokenizer(gguf.get(), vocabulary);
  return write(gguf.get(), blueprint, path, quantisation, seed);
}

int make(const Projector& projector, const std::string& path, std::uint64_t seed) {
  const ProjectorBlueprint made = blueprint_of(projector);
  const GgufHandle gguf(gguf_init_empty(), gguf_free);
  gguf_set_val_str(gguf.get(), "general.architecture", "clip");
  gguf_set_val_str(gguf.get(), "general.type", "mmproj");
  gguf_set_val_str(gguf.get(), "general.name", projector.title);
  for (const auto& [key, value] : made.blueprint.numbers) set_number(gguf.get(), key, value);
  for (const auto& [key, text] : made.texts) gguf_set_val_str(gguf.get(), key.c_str(), text.c_str());
  for (const auto& [key, list] : made.reals) gguf_set_arr_data(gguf.get(), key.c_str(), GGUF_TYPE_FLOAT32, list.data(), list.size());
  return write(gguf.get(), made.blueprint, path, "f16", seed);
}

}  // namespace

int main(int argc, char** argv) {
  std::string shape_name;
  std::string path;
  std::string quantisation = "q4_k";
  std::uint64_t seed = 42;
  CLI::App app{"Writes a GGUF of seeded random weights in a real model's shapes, for tests of memory, speed and state."};
  std::vector<std::string> names;
  for (const Shape& shape : all_shapes()) names.emplace_back(shape.name);
  for (const Projector& projector : all_projectors()) names.emplace_back(projector.name);
  app.add_option("SHAPE", shape_name, "One of the known shapes")->required()->check(CLI::IsMember(names));
  app.add_option("FILE", path, "Where to write it")->required();
  app.add_option("--quant", quantisation, "q4_k, q4_0, q4_1, q8_0 or f16")->capture_default_str()->check(CLI::IsMember({"q4_k", "q4_0", "q4_1", "q8_0", "f16"}));
  app.add_option("--seed", seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  for (const Projector& projector : all_projectors()) {
    if (shape_name == projector.name) return make(projector, path, seed);
  }
  return make(*std::ranges::find_if(all_shapes(), [&](const Shape& shape) { return shape.name == shape_name; }), path, quantisation, seed);
}
