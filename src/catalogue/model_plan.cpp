#include "catalogue/model_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/utf8.h"

namespace pensieve {
namespace {

constexpr std::uint64_t kKvBytesAuto = std::uint64_t{1} << 30;
constexpr std::uint64_t kLayersMax = 4096;
constexpr std::uint64_t kWidthMax = 1u << 20;  // Heads, and numbers in a head.
constexpr std::uint64_t kContextMax = std::uint64_t{1} << 32;

// The numbers of one architecture; the first that is missing or absurd sticks.
class Shape {
 public:
  Shape(const GgufHeader& header, std::string architecture) : header_(header), architecture_(std::move(architecture)) {}

  bool failed() const { return !problem_.empty(); }
  const std::string& problem() const { return problem_; }

  bool has(const char* key) const { return header_.pairs.contains(named(key)); }

  std::uint64_t number(const char* key, std::uint64_t high) {
    const auto* value = header_.find<std::int64_t>(named(key));
    if (value == nullptr) return fail(fmt::format("{} is missing", named(key)));
    return checked(key, *value, high);
  }

  // One number for all layers, or one for each.
  std::vector<std::uint64_t> per_layer(const char* key, std::uint64_t layers, std::uint64_t high) {
    const auto* list = header_.find<GgufArray>(named(key));
    if (list == nullptr) return std::vector<std::uint64_t>(layers, number(key, high));
    if (list->integers.size() < layers) {
      fail(fmt::format("{} has {} numbers for {} layers", named(key), list->integers.size(), layers));
      return std::vector<std::uint64_t>(layers, 0);
    }
    std::vector<std::uint64_t> numbers;
    for (std::uint64_t i = 0; i < layers; ++i) numbers.push_back(checked(key, list->integers[i], high));
    return numbers;
  }

 private:
  std::string named(const char* key) const { return architecture_ + "." + key; }
  std::uint64_t fail(std::string problem) {
    if (problem_.empty()) problem_ = std::move(problem);
    return 0;
  }
  std::uint64_t checked(const char* key, std::int64_t value, std::uint64_t high) {
    if (value < 0 || static_cast<std::uint64_t>(value) > high) return fail(fmt::format("{}: {} is absurd", named(key), value));
    return static_cast<std::uint64_t>(value);
  }

  const GgufHeader& header_;
  std::string architecture_;
  std::string problem_;
};

// Numbers kept of each token, over all layers: keys and values of every KV head.
std::uint64_t kv_numbers_per_token(Shape& shape, std::uint64_t layers) {
  // A recurrent model has none, and keeps nothing of single tokens.
  if (!shape.has("attention.head_count") && (shape.has("ssm.state_size") || shape.has("wkv.head_size"))) return 0;
  const auto heads = shape.per_layer("attention.head_count", layers, kWidthMax);
  const auto kv_heads = shape.has("attention.head_count_kv") ? shape.per_layer("attention.head_count_kv", layers, kWidthMax) : heads;
  const std::uint64_t heads_most = heads.empty() ? 0 : *std::ranges::max_element(heads);
  const auto width = [&](const char* key) -> std::uint64_t {
    if (shape.has(key)) return shape.number(key, kWidthMax);
    const std::uint64_t embedding = shape.number("embedding_length", kWidthMax);
    return heads_most == 0 ? 0 : embedding / heads_most;
  };
  const std::uint64_t key_width = width("attention.key_length");
  const std::uint64_t value_width = width("attention.value_length");
  std::uint64_t numbers = 0;
  for (const std::uint64_t count : kv_heads) numbers += count * (key_width + value_width);
  return numbers;  // At most 2^12 * 2^20 * 2^21.
}

}  // namespace

Result<ModelPlan> plan_model(const GgufHeader& header, std::uint64_t context_tokens, std::uint64_t slots) {
  const auto* architecture = header.find<std::string>("general.architecture");
  if (architecture == nullptr || architecture->empty() || !utf8_valid(*architecture)) return Error{ErrorCode::corrupt, "general.architecture is missing"};
  ModelPlan plan;
  plan.architecture = *architecture;
  if (const auto* name = header.find<std::string>("general.name")) plan.name = utf8_sanitise(*name);
  plan.parameters = header.parameters;
  plan.file_bytes = header.file_bytes;
  Shape shape(header, *architecture);
  plan.layers = shape.number("block_count", kLayersMax);
  plan.context_trained = shape.number("context_length", kContextMax);
  const auto* causal = header.find<bool>(*architecture + ".attention.causal");
  const auto* pooling = header.find<std::int64_t>(*architecture + ".pooling_type");
  const bool looks_ahead = causal != nullptr && !*causal;
  plan.embeds = looks_ahead || (pooling != nullptr && *pooling > 0);
  const std::uint64_t numbers = looks_ahead ? 0 : kv_numbers_per_token(shape, plan.layers);
  if (shape.failed()) return Error{ErrorCode::corrupt, shape.problem()};
  if (numbers > (std::uint64_t{1} << 40)) return Error{ErrorCode::corrupt, "its KV cache has an absurd size"};
  plan.kv_bytes_per_token_f16 = numbers * 2;
  plan.kv_bytes_per_token_q8_0 = numbers / 32 * 34;  // 32 numbers and their scale in 34 bytes.
  plan.slots = plan.embeds ? 1 : std::clamp<std::uint64_t>(slots, 1, 1024);
  plan.context_tokens = std::min(context_tokens, kContextMax);
  if (context_tokens == 0) {
    plan.context_tokens = plan.context_trained;
    if (numbers > 0) plan.context_tokens = std::min(plan.context_trained, kKvBytesAuto / (plan.kv_bytes_per_token_f16 * plan.slots));
  }
  // Up to 2^41 * 2^32 * 2^10: more than 64 bits hold.
  const long double kv = static_cast<long double>(plan.kv_bytes_per_token_f16) * static_cast<long double>(plan.context_tokens) * static_cast<long double>(plan.slots);
  if (kv > 1e18L) return Error{ErrorCode::invalid_argument, fmt::format("{} slots of {} tokens need more memory than there is", plan.slots, plan.context_tokens)};
  plan.kv_bytes = plan.kv_bytes_per_token_f16 * plan.context_tokens * plan.slots;
  plan.total_bytes = plan.file_bytes + plan.kv_bytes;
  return plan;
}

}  // namespace pensieve
