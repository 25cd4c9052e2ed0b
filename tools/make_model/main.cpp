// pensieve-make-model: writes a GGUF with seeded random weights in the exact
// shapes of a real model. Bytes, speed and memory are those of the real one; the
// text it says is noise. The same arguments write the same bytes.
//
// Memory stays at one tensor's row bank and one write buffer, whatever the size:
// each matrix repeats a bank of 64 random rows in random order, which to the
// kernels is as good as all-random and far faster to make.
#include <CLI/CLI.hpp>
#include <ggml.h>
#include <gguf.h>

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

struct Shape {
  const char* name;
  const char* title;
  std::int64_t layers, width, heads, kv_heads, feed_forward, vocabulary, context;
};

// phi3 architecture: fused qkv, fused gate and up. Phi-3-mini's figures are those of its published config.
constexpr Shape kShapes[] = {
    {"tiny", "Tiny stand-in (phi3)", 4, 256, 4, 4, 768, 4096, 32768},
    {"small", "Small stand-in (phi3, grouped-query)", 16, 1024, 16, 4, 2816, 32064, 32768},
    {"phi3-mini-4k", "Phi-3-mini-4k stand-in", 32, 3072, 32, 32, 8192, 32064, 4096},
    {"phi3-mini-128k", "Phi-3-mini-128k stand-in", 32, 3072, 32, 32, 8192, 32064, 131072},
};

constexpr const char* kChatTemplate =
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";

struct Vocabulary {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> types;

  void add(std::string text, float score, std::int32_t type) {
    texts.push_back(std::move(text));
    scores.push_back(score);
    types.push_back(type);
  }
};

// SentencePiece with byte fallback: markers, bytes, letters, then made-up syllables up to the size asked for.
Vocabulary make_vocabulary(std::int64_t size) {
  constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kByte = 6;
  Vocabulary v;
  v.add("<unk>", 0, kUnknown);
  v.add("<s>", 0, kControl);
  v.add("</s>", 0, kControl);
  for (int byte = 0; byte < 256; ++byte) v.add(fmt::format("<0x{:02X}>", byte), 0, kByte);
  for (const char* marker : {"<|user|>", "<|assistant|>", "<|end|>", "<|system|>", "<|endoftext|>"}) v.add(marker, 0, kControl);
  const std::string space = "\xE2\x96\x81";
  v.add(space, -1, kNormal);
  for (char c = '!'; c <= '~'; ++c) v.add(std::string(1, c), -2, kNormal);
  const std::string letters = "abcdefghijklmnopqrstuvwxyz";
  const auto full = [&] { return static_cast<std::int64_t>(v.texts.size()) >= size; };
  float score = -3;
  for (int length = 2; length <= 4 && !full(); ++length) {
    std::size_t count = 1;
    for (int i = 0; i < length; ++i) count *= letters.size();
    for (const std::string& prefix : {std::string(), space}) {
      for (std::size_t number = 0; number < count && !full(); ++number) {
        std::string text;
        for (std::size_t rest = number, i = 0; i < static_cast<std::size_t>(length); ++i, rest /= letters.size()) text.push_back(letters[rest % letters.size()]);
        v.add(prefix + text, score, kNormal);
        score -= 1;
      }
    }
  }
  return v;
}

struct File {
  explicit File(std::FILE* f) : file(f) {}
  ~File() {
    if (file != nullptr) std::fclose(file);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  std::FILE* file;
};

bool write_tensor(std::FILE* out, const ggml_tensor* tensor, std::mt19937_64& random, std::size_t alignment) {
  constexpr std::size_t kBankRows = 64;
  const std::int64_t row_values = tensor->ne[0];
  const std::size_t row_bytes = ggml_row_size(tensor->type, row_values);
  const auto rows = static_cast<std::size_t>(ggml_nelements(tensor) / row_values);
  bool good = true;
  if (tensor->type == GGML_TYPE_F32) {  // Norms.
    const std::vector<float> ones(static_cast<std::size_t>(row_values), 1.0f);
    for (std::size_t row = 0; row < rows; ++row) good = good && std::fwrite(ones.data(), row_bytes, 1, out) == 1;
  } else {
    std::vector<float> values(static_cast<std::size_t>(row_values) * kBankRows);
    std::normal_distribution<float> normal(0, 1.0f / std::sqrt(static_cast<float>(row_values)));
    for (float& value : values) value = normal(random);
    std::vector<std::uint8_t> bank(row_bytes * kBankRows);
    ggml_quantize_chunk(tensor->type, values.data(), bank.data(), 0, kBankRows, row_values, nullptr);
    for (std::size_t row = 0; row < rows; ++row) good = good && std::fwrite(bank.data() + (random() % kBankRows) * row_bytes, row_bytes, 1, out) == 1;
  }
  const std::size_t padding = (alignment - ggml_nbytes(tensor) % alignment) % alignment;
  for (std::size_t i = 0; i < padding; ++i) good = good && std::fputc(0, out) != EOF;
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  std::string shape_name;
  std::string path;
  std::string quantisation = "q4_k";
  std::uint64_t seed = 42;
  CLI::App app{"Writes a GGUF of seeded random weights in a real model's shapes, for tests of memory and speed."};
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.emplace_back(shape.name);
  app.add_option("SHAPE", shape_name, "One of the known shapes")->required()->check(CLI::IsMember(names));
  app.add_option("FILE", path, "Where to write it")->required();
  app.add_option("--quant", quantisation, "q4_k, q8_0 or f16")->capture_default_str()->check(CLI::IsMember({"q4_k", "q8_0", "f16"}));
  app.add_option("--seed", seed)->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  const Shape& shape = *std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& s) { return s.name == shape_name; });
  const ggml_type type = quantisation == "q4_k" ? GGML_TYPE_Q4_K : quantisation == "q8_0" ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
  const ggml_type output_type = type == GGML_TYPE_Q4_K ? GGML_TYPE_Q6_K : type;  // As the usual Q4_K_M files have it.

  const std::unique_ptr<gguf_context, decltype(&gguf_free)> gguf(gguf_init_empty(), gguf_free);
  const auto set = [&](const char* key, std::int64_t value) { gguf_set_val_u32(gguf.get(), key, static_cast<std::uint32_t>(value)); };
  gguf_set_val_str(gguf.get(), "general.architecture", "phi3");
  gguf_set_val_str(gguf.get(), "general.name", shape.title);
  set("phi3.context_length", shape.context);
  set("phi3.rope.scaling.original_context_length", shape.context);
  set("phi3.embedding_length", shape.width);
  set("phi3.feed_forward_length", shape.feed_forward);
  set("phi3.block_count", shape.layers);
  set("phi3.attention.head_count", shape.heads);
  set("phi3.attention.head_count_kv", shape.kv_heads);
  set("phi3.rope.dimension_count", shape.width / shape.heads);
  gguf_set_val_f32(gguf.get(), "phi3.attention.layer_norm_rms_epsilon", 1e-5f);
  gguf_set_val_f32(gguf.get(), "phi3.rope.freq_base", 10000.0f);

  const Vocabulary vocabulary = make_vocabulary(shape.vocabulary);
  std::vector<const char*> texts;
  for (const std::string& text : vocabulary.texts) texts.push_back(text.c_str());
  gguf_set_val_str(gguf.get(), "tokenizer.ggml.model", "llama");
  gguf_set_val_str(gguf.get(), "tokenizer.ggml.pre", "default");
  gguf_set_arr_str(gguf.get(), "tokenizer.ggml.tokens", texts.data(), texts.size());
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.scores", GGUF_TYPE_FLOAT32, vocabulary.scores.data(), vocabulary.scores.size());
  gguf_set_arr_data(gguf.get(), "tokenizer.ggml.token_type", GGUF_TYPE_INT32, vocabulary.types.data(), vocabulary.types.size());
  set("tokenizer.ggml.bos_token_id", 1);
  set("tokenizer.ggml.eos_token_id", 261);  // <|end|>
  set("tokenizer.ggml.unknown_token_id", 0);
  gguf_set_val_bool(gguf.get(), "tokenizer.ggml.add_bos_token", true);
  gguf_set_val_str(gguf.get(), "tokenizer.chat_template", kChatTemplate);

  const std::unique_ptr<ggml_context, decltype(&ggml_free)> tensors(ggml_init({std::size_t{16} << 20, nullptr, true}), ggml_free);
  std::vector<ggml_tensor*> order;
  const auto add = [&](const std::string& name, ggml_type tensor_type, std::int64_t columns, std::int64_t rows) {
    ggml_tensor* tensor = rows == 0 ? ggml_new_tensor_1d(tensors.get(), tensor_type, columns) : ggml_new_tensor_2d(tensors.get(), tensor_type, columns, rows);
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf.get(), tensor);
    order.push_back(tensor);
  };
  const std::int64_t kv_width = shape.width / shape.heads * shape.kv_heads;
  add("token_embd.weight", type, shape.width, shape.vocabulary);
  add("output_norm.weight", GGML_TYPE_F32, shape.width, 0);
  add("output.weight", output_type, shape.width, shape.vocabulary);
  for (std::int64_t layer = 0; layer < shape.layers; ++layer) {
    const std::string block = fmt::format("blk.{}.", layer);
    add(block + "attn_norm.weight", GGML_TYPE_F32, shape.width, 0);
    add(block + "attn_qkv.weight", type, shape.width, shape.width + 2 * kv_width);
    add(block + "attn_output.weight", type, shape.width, shape.width);
    add(block + "ffn_norm.weight", GGML_TYPE_F32, shape.width, 0);
    add(block + "ffn_up.weight", type, shape.width, 2 * shape.feed_forward);
    add(block + "ffn_down.weight", type, shape.feed_forward, shape.width);
  }

  const std::string unfinished = path + ".part";
  if (!gguf_write_to_file(gguf.get(), unfinished.c_str(), true)) {
    std::cerr << "pensieve-make-model: '" << unfinished << "' cannot be written\n";
    return 1;
  }
  bool good = true;
  {
    const File out(std::fopen(unfinished.c_str(), "ab"));
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < order.size() && out.file != nullptr && good; ++i) {
      good = write_tensor(out.file, order[i], random, gguf_get_alignment(gguf.get()));
      std::cerr << fmt::format("\r{}: {}/{} tensors", path, i + 1, order.size()) << std::flush;
    }
    good = good && out.file != nullptr && std::fflush(out.file) == 0;
  }
  std::cerr << '\n';
  if (!good || std::rename(unfinished.c_str(), path.c_str()) != 0) {
    std::remove(unfinished.c_str());
    std::cerr << "pensieve-make-model: '" << path << "' could not be written whole (disk full?)\n";
    return 1;
  }
  return 0;
}
