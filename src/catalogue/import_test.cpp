#include "catalogue/import.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "catalogue/checkpoint_plan.h"
#include "catalogue/gguf_header.h"
#include "catalogue/half.h"
#include "catalogue/tokenizer_import.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

TEST(Half, EveryHalfComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    if (!std::isnan(float_of_f16(half))) { EXPECT_EQ(f16_of(float_of_f16(half)), half); }
    if (!std::isnan(float_of_bf16(half))) { EXPECT_EQ(bf16_of(float_of_bf16(half)), half); }
  }
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  EXPECT_EQ(f16_of(1 + 0x1p-11f), f16_of(1));           // Between 1 and the next: to the even one.
  EXPECT_EQ(f16_of(1 + 0x1.8p-10f), f16_of(1 + 0x1p-9f));
  EXPECT_EQ(f16_of(65519), 0x7BFF);
  EXPECT_EQ(f16_of(65520), 0x7C00);
  EXPECT_EQ(f16_of(0x1p-25f), 0);
  EXPECT_EQ(f16_of(0x1.8p-25f), 1);
  EXPECT_EQ(f16_of(-0.0f), 0x8000);
  EXPECT_EQ(bf16_of(1 + 0x1p-8f), bf16_of(1));
  std::mt19937 random(3);
  for (int i = 0; i < 100000; ++i) {
    const float value = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
    if (!std::isfinite(value) || std::fabs(value) > 65504) continue;
    const std::uint16_t half = f16_of(value);
    const float there = float_of_f16(half);
    for (const int step : {-1, 1}) {
      const float other = float_of_f16(static_cast<std::uint16_t>(half + step));
      if (std::isfinite(other)) { EXPECT_LE(std::fabs(there - value), std::fabs(other - value)); }
    }
  }
}

// ---- A checkpoint of one layer, made by hand.

class Maker {
 public:
  void add(const std::string& name, const std::string& type, const std::vector<std::uint64_t>& shape, const std::string& bytes) {
    header_[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
  }
  void add_bf16(const std::string& name, const std::vector<std::uint64_t>& shape) {
    std::uint64_t count = 1;
    for (const auto size : shape) count *= size;
    std::string bytes;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint16_t bits = bf16_of(static_cast<float>(static_cast<int>(random_() % 2001) - 1000) / 1000);
      bytes.append(reinterpret_cast<const char*>(&bits), 2);
    }
    add(name, "BF16", shape, bytes);
  }
  void add_affine(const std::string& name, std::uint64_t rows, std::uint64_t columns, std::uint64_t bits, std::uint64_t group, float scale) {
    std::string packed(rows * columns * bits / 8, '\0');
    for (char& byte : packed) byte = static_cast<char>(random_());
    add(name + ".weight", "U32", {rows, columns * bits / 32}, packed);
    for (const char* part : {".scales", ".biases"}) {
      std::string bytes;
      for (std::uint64_t i = 0; i < rows * columns / group; ++i) {
        const std::uint16_t value = bf16_of(scale * (1 + static_cast<float>(random_() % 100) / 100) * (part[1] == 'b' ? -8.0f : 1.0f));
        bytes.append(reinterpret_cast<const char*>(&value), 2);
      }
      add(name + part, "BF16", {rows, columns / group}, bytes);
    }
  }
  std::string file() const {
    const std::string header = header_.dump();
    const std::uint64_t length = header.size();
    return std::string(reinterpret_cast<const char*>(&length), 8) + header + data_;
  }
  json header_ = json::object();

 private:
  std::string data_;
  std::mt19937 random_{17};
};

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<char>(value | 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

std::string piece(const std::string& text, int type, float score = 0) {
  std::string inner = "\x0A" + varint(text.size()) + text + "\x15" + std::string(reinterpret_cast<const char*>(&score), 4) + "\x18" + varint(static_cast<std::uint64_t>(type));
  return "\x0A" + varint(inner.size()) + inner;
}

class Import : public testing::Test {
 protected:
  Import() : root(fs::temp_directory_path() / ("pensieve-import-" + std::to_string(::getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name())), store(root / "models") {
    fs::create_directories(root / "model");
    config = {{"model_type", "phi3"}, {"hidden_size", 64}, {"num_hidden_layers", 1}, {"intermediate_size", 128}, {"num_attention_heads", 2}, {"num_key_value_heads", 1},
              {"vocab_size", 16}, {"max_position_embeddings", 512}, {"rms_norm_eps", 1e-5}, {"tie_word_embeddings", true}};
    for (const char* norm : {"model.norm", "model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm"}) maker.add_bf16(std::string(norm) + ".weight", {64});
    matrices = {{"model.embed_tokens", {16, 64}}, {"model.layers.0.self_attn.qkv_proj", {128, 64}}, {"model.layers.0.self_attn.o_proj", {64, 64}},
                {"model.layers.0.mlp.gate_up_proj", {256, 64}}, {"model.layers.0.mlp.down_proj", {64, 128}}};
    put("tokenizer.model", piece("<unk>", 2) + piece("<s>", 3) + piece("</s>", 3) + piece("a", 1, -1) + piece("<0x41>", 6));
    put("tokenizer_config.json", R"({"eos_token":"</s>","bos_token":{"content":"<s>"},"chat_template":"{{ x }}","added_tokens_decoder":{"5":{"content":"<|end|>","special":true}}})");
  }
  ~Import() override { fs::remove_all(root); }

  void put(const std::string& name, const std::string& text) { std::ofstream(root / "model" / name, std::ios::binary | std::ios::trunc) << text; }
  void plain() {
    for (const auto& [name, shape] : matrices) maker.add_bf16(name + ".weight", shape);
  }
  void affine(std::uint64_t bits, float scale = 0.01f) {
    for (const auto& [name, shape] : matrices) maker.add_affine(name, shape[0], shape[1], bits, 64, scale);
    config["quantization"] = {{"bits", bits}, {"group_size", 64}};
  }
  Result<ImportReport> run(const std::string& quantisation = "") {
    put("config.json", config.dump());
    put("model.safetensors", maker.file());
    ImportOptions options;
    options.folder = (root / "model").string();
    options.quantisation = quantisation;
    options.quantise = [](const std::string&, const std::string&, const std::string&) { return Result<void>(Error{ErrorCode::internal, "no engine here"}); };
    return import_checkpoint(store, options, [](std::uint64_t, std::uint64_t) {});
  }
  void expect_refused(const Result<ImportReport>& report, const char* words) {
    ASSERT_FALSE(report) << words;
    EXPECT_NE(report.error().message.find(words), std::string::npos) << report.error().message << " / " << words;
    EXPECT_TRUE(store.list().empty());
    if (fs::exists(root / "models" / ".partial")) { EXPECT_TRUE(fs::is_empty(root / "models" / ".partial")); }
  }

  fs::path root;
  ModelStore store;
  json config;
  Maker maker;
  std::map<std::string, std::vector<std::uint64_t>> matrices;
};

TEST_F(Import, PlainWeightsKeepTheirNumbers) {
  plain();
  const auto report = run();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->error_max, 0);
  const auto header = read_gguf_header(report->model.path());
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->tensors.size(), 8u);
  EXPECT_EQ(*header->find<std::string>("general.architecture"), "phi3");
  EXPECT_EQ(*header->find<std::int64_t>("tokenizer.ggml.eos_token_id"), 2);
  EXPECT_EQ(*header->find<std::string>("tokenizer.chat_template"), "{{ x }}");
  EXPECT_EQ(run().error().code, ErrorCode::invalid_argument);  // It is there already.
}

TEST_F(Import, FourBitGroupsBecomeBlocksOfTheSameNumbers) {
  affine(4);
  const auto report = run();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->error_max, 0);
  EXPECT_EQ(report->overflows, 0u);
  EXPECT_EQ(report->quantised_weights, 16u * 64 + 128 * 64 + 64 * 64 + 256 * 64 + 64 * 128);
  const auto header = read_gguf_header(report->model.path());
  EXPECT_EQ(std::ranges::find(header->tensors, "blk.0.ffn_down.weight", &GgufTensor::name)->type, 3u);
}

TEST_F(Import, WhatAHalfCannotHoldIsTold) {
  affine(4, 1e6f);
  const auto report = run();
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_GT(report->overflows, 0u);
  EXPECT_GT(report->error_max, 1e5);
  EXPECT_FALSE(report->overflow_tensor.empty());
}

TEST_F(Import, EightBitGroupsAreRoundedAnewOrKeptAsHalves) {
  affine(8);
  const auto rounded = run();
  ASSERT_TRUE(rounded) << rounded.error().message;
  EXPECT_GT(rounded->error_max, 0);
  EXPECT_LT(rounded->error_max, 0.03);  // Half a step of Q8_0 where weights reach 5.
  ASSERT_TRUE(store.remove("model"));
  const auto kept = run("f16");
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_LT(kept->error_max, 0.002);
}

TEST_F(Import, AFailedQuantiserLeavesNothing) {
  plain();
  expect_refused(run("q4_k_m"), "no engine here");
}

TEST_F(Import, BadCheckpointsGetOneSentence) {
  plain();
  const json good = config;
  const std::tuple<const char*, json, const char*> numbers[] = {
      {"model_type", "rwkv", "model_type 'rwkv' is none of"}, {"model_type", nullptr, "model_type is missing"}, {"hidden_size", 0, "hidden_size"}, {"hidden_size", -64, "hidden_size"},
      {"hidden_size", 1e99, "hidden_size"}, {"num_hidden_layers", 4000000000u, "num_hidden_layers"}, {"vocab_size", 1u << 30, "vocab_size"}, {"num_attention_heads", 3, "multiple"},
      {"intermediate_size", 64, "gate_up_proj"}, {"num_hidden_layers", 2, "the checkpoint has no 'model.layers.1"}, {"vocab_size", 4, "tokenizer.model: 5 tokens"},
      {"tie_word_embeddings", false, "no 'lm_head.weight'"}, {"hidden_act", "gelu", "hidden_act"}, {"rope_scaling", {{"type", "magic"}}, "rope scaling 'magic'"},
      {"rope_scaling", {{"type", "longrope"}, {"long_factor", {1, 2}}, {"short_factor", {1, 2}}}, "long_factor must be a list of 16"}, {"rms_norm_eps", -1, "rms_norm_eps"},
  };
  for (const auto& [key, value, words] : numbers) {
    config = good;
    config[key] = value;
    expect_refused(run(), words);
  }
  config = good;
  expect_refused(run("q99"), "--quant: 'q99'");
  maker.add_bf16("model.layers.0.extra.weight", {4});
  expect_refused(run(), "model.layers.0.extra.weight");
}

TEST_F(Import, BadQuantisationsGetOneSentence) {
  affine(4);
  const json good = config;
  const std::pair<json, const char*> cases[] = {
      {nullptr, "quantization is missing"}, {{{"bits", 3}, {"group_size", 64}}, "4 and 8 are known"}, {{{"bits", 4}, {"group_size", 48}}, "32, 64 and 128"},
      {{{"bits", 4}}, "group_size is missing"}, {{{"bits", 4}, {"group_size", 64}, {"mode", "mxfp4"}}, "only affine"}, {{{"bits", 4}, {"group_size", 32}}, "which config.json does not fit"},
      {{{"bits", 8}, {"group_size", 64}}, "which config.json does not fit"},
  };
  for (const auto& [value, words] : cases) {
    config = good;
    config["quantization"] = value;
    expect_refused(run(), words);
  }
}

TEST_F(Import, MissingPartsAreNamed) {
  plain();
  put("config.json", config.dump());
  ImportOptions options;
  options.folder = (root / "model").string();
  const auto go = [&] { return import_checkpoint(store, options, [](std::uint64_t, std::uint64_t) {}); };
  expect_refused(go(), "no *.safetensors");
  put("model.safetensors", maker.file().substr(0, 3000));
  expect_refused(go(), "cut short");
  fs::remove(root / "model" / "tokenizer.model");
  expect_refused(go(), "no tokenizer.model and no tokenizer.json");
  fs::remove(root / "model" / "config.json");
  expect_refused(go(), "no config.json");
  put("config.json", std::string(200000, '['));
  expect_refused(go(), "not a JSON object");
  options.folder = (root / "absent").string();
  expect_refused(go(), "is not a folder");
}

TEST(CheckpointPlan, AnyConfigurationIsAPlanOrAnError) {
  const std::string good = R"({"model_type":"phi3","hidden_size":64,"num_hidden_layers":2,"intermediate_size":128,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":16,"max_position_embeddings":512,
    "rms_norm_eps":1e-5,"tie_word_embeddings":true,"rope_theta":10000.0,"rope_scaling":{"type":"yarn","factor":4.0,"original_max_position_embeddings":128,"long_factor":[1,2],"short_factor":[1,2]},"head_dim":32})";
  std::mt19937 random(9);
  int planned = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string text = good;
    if (round % 3 == 0) text.replace(text.find("phi3"), 4, round % 2 == 0 ? "qwen3" : "llama");
    for (int i = 0; i < 2; ++i) text[random() % text.size()] = "0123456789e-.{}[]\",:"[random() % 21];
    const json config = json::parse(text, nullptr, false);
    if (!config.is_object()) continue;
    const auto plan = plan_checkpoint(config);
    if (!plan) {
      EXPECT_FALSE(plan.error().message.empty());
      continue;
    }
    ++planned;
    for (const PlannedTensor& tensor : plan->tensors) EXPECT_GT(tensor.columns, 0u);
  }
  EXPECT_GT(planned, 200);
}

TEST_F(Import, AnyTokenizerFileIsATokenizerOrAnError) {
  fs::remove(root / "model" / "tokenizer.model");
  const std::string good = R"({"added_tokens":[{"id":7,"content":"<|end|>","special":true}],"pre_tokenizer":{"type":"ByteLevel"},"model":{"type":"BPE","byte_fallback":false,
    "unk_token":null,"vocab":{"a":0,"b":1,"ab":2,"abc":3,"c":4},"merges":["a b",["ab","c"]]}})";
  put("tokenizer.json", good);
  const auto read = import_tokenizer((root / "model").string(), 16);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->model, "gpt2");
  EXPECT_EQ(read->merges, (std::vector<std::string>{"a b", "ab c"}));
  EXPECT_EQ(read->texts[7], "<|end|>");
  EXPECT_EQ(read->types[7], 3);
  std::mt19937 random(21);
  for (int round = 0; round < 1000; ++round) {
    std::string text = good;
    for (int i = 0; i < 2; ++i) text[random() % text.size()] = "0123456789e-.{}[]\",: "[random() % 22];
    put("tokenizer.json", text);
    if (const auto tokenizer = import_tokenizer((root / "model").string(), 16)) { EXPECT_EQ(tokenizer->texts.size(), 16u); }
  }
  put("tokenizer.json", R"({"model":{"type":"Unigram","vocab":[]}})");
  EXPECT_NE(import_tokenizer((root / "model").string(), 16).error().message.find("only BPE"), std::string::npos);
  put("tokenizer.json", R"({"model":{"type":"BPE","vocab":{"a":4000000000},"merges":[]}})");
  EXPECT_NE(import_tokenizer((root / "model").string(), 16).error().message.find("beyond"), std::string::npos);
  put("tokenizer.json", R"({"pre_tokenizer":{"type":"Split","pattern":{"Regex":"x+"}},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}})");
  EXPECT_NE(import_tokenizer((root / "model").string(), 16).error().message.find("cutting text"), std::string::npos);
}

TEST(Tokenizer, AnyBytesAreAModelOrAnError) {
  const std::string good = piece("<unk>", 2) + piece("a", 1, -1) + piece("b", 1, -2) + "\x1A\x02\x18\x01";
  ASSERT_EQ(parse_sentencepiece(good)->texts.size(), 3u);
  EXPECT_FALSE(parse_sentencepiece(""));
  EXPECT_FALSE(parse_sentencepiece(good.substr(0, good.size() - 1)));
  EXPECT_FALSE(parse_sentencepiece("\x0A\xff\xff\xff\xff\xff\xff\xff\xff\x7f"));
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    for (int i = 0; i < 3; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (const auto model = parse_sentencepiece(bytes)) { EXPECT_EQ(model->texts.size(), model->types.size()); }
  }
}

}  // namespace
}  // namespace pensieve
