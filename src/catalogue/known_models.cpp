#include "catalogue/known_models.h"

#include <algorithm>

namespace pensieve {
namespace {

constexpr std::uint64_t mb(std::uint64_t millions) { return millions * 1'000'000; }
// Keys and values, two bytes each.
constexpr std::uint64_t kv(std::uint64_t layers, std::uint64_t kv_heads, std::uint64_t head_width) { return layers * kv_heads * head_width * 4; }

constexpr KnownModel kModels[] = {
    {"devstral", "mistralai/Devstral-Small-2507_gguf", "Q4_K_M", mb(14'330), 131072, "Apache-2.0", kv(40, 8, 128)},
    {"gemma-3-12b", "ggml-org/gemma-3-12b-it-GGUF", "Q4_K_M", mb(7'300), 131072, "Gemma", kv(48, 8, 256)},
    {"gemma-3-1b", "ggml-org/gemma-3-1b-it-GGUF", "Q4_K_M", mb(806), 32768, "Gemma", kv(26, 1, 256)},
    {"gemma-3-4b", "ggml-org/gemma-3-4b-it-GGUF", "Q4_K_M", mb(2'490), 131072, "Gemma", kv(34, 4, 256)},
    {"gpt-oss-20b", "ggml-org/gpt-oss-20b-GGUF", "MXFP4", mb(12'110), 131072, "Apache-2.0", kv(24, 8, 64)},
    {"lfm2-1.2b", "LiquidAI/LFM2-1.2B-GGUF", "Q4_K_M", mb(731), 128000, "LFM Open 1.0", kv(6, 8, 64)},
    {"llama-3.2-3b", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Q4_K_M", mb(2'020), 131072, "Llama 3.2", kv(28, 8, 128)},
    {"phi-3-mini-128k", "bartowski/Phi-3.1-mini-128k-instruct-GGUF", "Q4_K_M", mb(2'390), 131072, "MIT", kv(32, 32, 96)},
    {"phi-4-mini", "unsloth/Phi-4-mini-instruct-GGUF", "Q4_K_M", mb(2'490), 131072, "MIT", kv(32, 8, 128)},
    {"qwen2.5-coder-7b", "Qwen/Qwen2.5-Coder-7B-Instruct-GGUF", "Q4_K_M", mb(4'680), 32768, "Apache-2.0", kv(28, 4, 128)},
    {"qwen3-4b", "Qwen/Qwen3-4B-GGUF", "Q4_K_M", mb(2'500), 40960, "Apache-2.0", kv(36, 8, 128)},
    {"qwen3-8b", "Qwen/Qwen3-8B-GGUF", "Q4_K_M", mb(5'030), 40960, "Apache-2.0", kv(36, 8, 128)},
    {"qwen3-coder-30b-a3b", "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", "Q4_K_M", mb(18'560), 262144, "Apache-2.0", kv(48, 4, 128)},
};

}  // namespace

std::span<const KnownModel> known_models() { return kModels; }

const KnownModel* find_known_model(const std::string& name) {
  const auto found = std::ranges::find_if(kModels, [&](const KnownModel& model) { return name == model.name; });
  return found == std::end(kModels) ? nullptr : &*found;
}

}  // namespace pensieve
