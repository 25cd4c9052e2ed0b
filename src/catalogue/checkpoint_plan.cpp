#include "catalogue/checkpoint_plan.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "base/utf8.h"

namespace pensieve {
namespace {

using nlohmann::json;

constexpr std::uint64_t kLayersMax = 1024;
constexpr std::uint64_t kWidthMax = 1u << 18;
constexpr std::uint64_t kVocabularyMax = 1u << 21;
constexpr std::uint64_t kContextMax = 1u << 30;

const json& at(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

class Planner {
 public:
  explicit Planner(const json& config) : config_(config) {}

  Result<CheckpointPlan> plan() {
    const std::string type = at(config_, "model_type").is_string() ? at(config_, "model_type").get<std::string>() : "";
    if (type.empty()) return Error{ErrorCode::corrupt, "config.json: model_type is missing"};
    if (type == "phi3" || type == "qwen2" || type == "qwen3") plan_.architecture = type;
    else if (type == "llama" || type == "mistral") plan_.architecture = "llama";
    else return Error{ErrorCode::invalid_argument, fmt::format("config.json: model_type '{}' is none of phi3, llama, mistral, qwen2, qwen3", utf8_sanitise(type.substr(0, 60)))};
    numbers();
    if (problem_) return *problem_;
    rope();
    if (problem_) return *problem_;
    tensors();
    return std::move(plan_);
  }

 private:
  void fail(ErrorCode code, std::string message) {
    if (!problem_) problem_ = Error{code, std::move(message)};
  }

  std::uint64_t number(const char* key, std::uint64_t high, std::optional<std::uint64_t> standard = std::nullopt) {
    const json& value = at(config_, key);
    if (value.is_null() && standard) return *standard;
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() == 0 || value.get<std::uint64_t>() > high) {
      fail(ErrorCode::corrupt, fmt::format("config.json: {} must be a whole number from 1 to {}", key, high));
      return 1;
    }
    return value.get<std::uint64_t>();
  }

  double real(const json& from, const char* key, std::optional<double> standard = std::nullopt) {
    const json& value = at(from, key);
    if (value.is_null() && standard) return *standard;
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() <= 0 || value.get<double>() > 1e9) {
      fail(ErrorCode::corrupt, fmt::format("config.json: {} must be a number above 0 and at most 1e9", key));
      return 1;
    }
    return value.get<double>();
  }

  void set(const std::string& key, std::uint64_t value) { plan_.numbers.emplace_back(plan_.architecture + "." + key, static_cast<std::uint32_t>(value)); }
  void set(const std::string& key, double value) { plan_.numbers.emplace_back(plan_.architecture + "." + key, static_cast<float>(value)); }
  void set(const std::string& key, const char* value) { plan_.numbers.emplace_back(plan_.architecture + "." + key, std::string(value)); }

  void numbers() {
    layers_ = number("num_hidden_layers", kLayersMax);
    width_ = number("hidden_size", kWidthMax);
    heads_ = number("num_attention_heads", kWidthMax);
    kv_heads_ = number("num_key_value_heads", kWidthMax, heads_);
    feed_forward_ = number("intermediate_size", kWidthMax);
    plan_.vocabulary = number("vocab_size", kVocabularyMax);
    context_ = number("max_position_embeddings", kContextMax);
    head_width_ = number("head_dim", kWidthMax, std::max<std::uint64_t>(1, width_ / std::max<std::uint64_t>(1, heads_)));
    if (problem_) return;
    if (at(config_, "head_dim").is_null() && width_ % heads_ != 0) return fail(ErrorCode::corrupt, "config.json: hidden_size is not a multiple of num_attention_heads");
    if (heads_ % kv_heads_ != 0) return fail(ErrorCode::corrupt, "config.json: num_attention_heads is not a multiple of num_key_value_heads");
    if (heads_ * head_width_ > kWidthMax) return fail(ErrorCode::corrupt, "config.json: num_attention_heads times head_dim is absurd");
    set("context_length", context_);
    set("embedding_length", width_);
    set("feed_forward_length", feed_forward_);
    set("block_count", layers_);
    set("attention.head_count", heads_);
    set("attention.head_count_kv", kv_heads_);
    set("attention.key_length", head_width_);
    set("attention.value_length", head_width_);
    set("attention.layer_norm_rms_epsilon", real(config_, "rms_norm_eps", 1e-5));
    set("vocab_size", plan_.vocabulary);
    const json& activation = at(config_, "hidden_act");
    if (!activation.is_null() && activation != "silu") fail(ErrorCode::invalid_argument, "config.json: hidden_act is not silu, which these architectures have");
  }

  void rope() {
    const json& parameters = at(config_, "rope_parameters");  // The newer spelling.
    const json& scaling = parameters.is_object() ? parameters : at(config_, "rope_scaling");
    const json& theta = at(parameters, "rope_theta").is_null() ? config_ : parameters;
    base_ = real(theta, "rope_theta", 10000.0);
    set("rope.freq_base", base_);
    const json& partial = at(parameters, "partial_rotary_factor").is_null() ? config_ : parameters;
    const double share = real(partial, "partial_rotary_factor", 1.0);
    if (problem_) return;
    rotated_ = static_cast<std::uint64_t>(static_cast<double>(head_width_) * std::min(1.0, share)) / 2 * 2;
    if (plan_.architecture == "llama" && rotated_ != head_width_) return fail(ErrorCode::invalid_argument, "config.json: heads that rotate in part are not known here for this architecture");
    if (rotated_ == 0) return fail(ErrorCode::corrupt, "config.json: head_dim is too small to rotate");
    set("rope.dimension_count", rotated_);
    if (!scaling.is_object()) return;
    const json& named = at(scaling, "rope_type").is_null() ? at(scaling, "type") : at(scaling, "rope_type");
    const std::string type = named.is_string() ? named.get<std::string>() : "default";
    if (type == "default") return;
    if ((type == "longrope" || type == "su") && plan_.architecture == "phi3") return long_rope(scaling);
    if (type == "linear") {
      set("rope.scaling.type", "linear");
      set("rope.scaling.factor", real(scaling, "factor"));
    } else if (type == "yarn" && plan_.architecture != "phi3") {
      set("rope.scaling.type", "yarn");
      set("rope.scaling.factor", real(scaling, "factor"));
      set("rope.scaling.original_context_length", static_cast<std::uint64_t>(real(scaling, "original_max_position_embeddings")));
    } else if (type == "llama3") {
      llama3_rope(scaling);
    } else {
      fail(ErrorCode::invalid_argument, fmt::format("config.json: the rope scaling '{}' is not known here for this architecture", utf8_sanitise(type.substr(0, 60))));
    }
  }

  std::vector<float> factors(const json& scaling, const char* key) {
    const json& list = at(scaling, key);
    std::vector<float> values;
    if (list.is_array()) for (const json& value : list) if (value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() > 0) values.push_back(value.get<float>());
    if (values.size() != rotated_ / 2) fail(ErrorCode::corrupt, fmt::format("config.json: {} must be a list of {} numbers above 0", key, rotated_ / 2));
    return values;
  }

  void long_rope(const json& scaling) {
    const json& place = at(scaling, "original_max_position_embeddings").is_null() ? config_ : scaling;
    const double original = real(place, "original_max_position_embeddings", 4096.0);
    plan_.computed.push_back({"rope_factors_long.weight", factors(scaling, "long_factor")});
    plan_.computed.push_back({"rope_factors_short.weight", factors(scaling, "short_factor")});
    if (problem_) return;
    if (original < 2 || original > static_cast<double>(kContextMax)) return fail(ErrorCode::corrupt, "config.json: original_max_position_embeddings is absurd");
    set("rope.scaling.original_context_length", static_cast<std::uint64_t>(original));
    const double ratio = static_cast<double>(context_) / original;
    set("rope.scaling.attn_factor", ratio > 1 ? std::sqrt(1 + std::log(ratio) / std::log(original)) : 1.0);
  }

  // Frequencies turn slower the longer their wave, smoothly between two bounds (Llama 3.1's report).
  void llama3_rope(const json& scaling) {
    const double factor = real(scaling, "factor", 8.0);
    const double low = real(scaling, "low_freq_factor", 1.0);
    const double high = real(scaling, "high_freq_factor", 4.0);
    const double original = real(scaling, "original_max_position_embeddings", 8192.0);
    if (problem_) return;
    if (high <= low) return fail(ErrorCode::corrupt, "config.json: high_freq_factor must be above low_freq_factor");
    std::vector<float> values;
    for (std::uint64_t i = 0; i < rotated_; i += 2) {
      const double frequency = std::pow(base_, -static_cast<double>(i) / static_cast<double>(rotated_));
      const double wave = 2 * std::numbers::pi / frequency;
      double value = 1;
      if (wave > original / low) {
        value = factor;
      } else if (wave > original / high) {
        const double smooth = (original / wave - low) / (high - low);
        value = 1 / ((1 - smooth) / factor + smooth);
      }
      values.push_back(static_cast<float>(value));
    }
    plan_.computed.push_back({"rope_freqs.weight", std::move(values)});
  }

  void matrix(const std::string& from, const std::string& to, std::uint64_t rows, std::uint64_t columns, std::uint64_t rotated = 0) {
    plan_.tensors.push_back({from, to + ".weight", rows, columns, rotated, false});
  }
  void vector(const std::string& from, const std::string& to, std::uint64_t length) { plan_.tensors.push_back({from, to + ".weight", 0, length, 0, false}); }
  void bias(const std::string& from, const std::string& to, std::uint64_t length, std::uint64_t rotated = 0) { plan_.tensors.push_back({from, to + ".bias", 0, length, rotated, true}); }

  void tensors() {
    const std::string& kind = plan_.architecture;
    const std::uint64_t q_width = heads_ * head_width_;
    const std::uint64_t kv_width = kv_heads_ * head_width_;
    const bool pairs = kind == "llama";  // Rotates neighbours, where the checkpoint rotates halves.
    const bool biased = kind == "qwen2" || (kind != "phi3" && at(config_, "attention_bias") == true);
    const json& tied = at(config_, "tie_word_embeddings");
    matrix("model.embed_tokens", "token_embd", plan_.vocabulary, width_);
    vector("model.norm", "output_norm", width_);
    if (tied != true) matrix("lm_head", "output", plan_.vocabulary, width_);
    for (std::uint64_t i = 0; i < layers_; ++i) {
      const std::string from = fmt::format("model.layers.{}.", i);
      const std::string to = fmt::format("blk.{}.", i);
      vector(from + "input_layernorm", to + "attn_norm", width_);
      if (kind == "phi3") {
        matrix(from + "self_attn.qkv_proj", to + "attn_qkv", q_width + 2 * kv_width, width_);
      } else {
        matrix(from + "self_attn.q_proj", to + "attn_q", q_width, width_, pairs ? heads_ : 0);
        matrix(from + "self_attn.k_proj", to + "attn_k", kv_width, width_, pairs ? kv_heads_ : 0);
        matrix(from + "self_attn.v_proj", to + "attn_v", kv_width, width_);
      }
      if (biased) {
        bias(from + "self_attn.q_proj", to + "attn_q", q_width, pairs ? heads_ : 0);
        bias(from + "self_attn.k_proj", to + "attn_k", kv_width, pairs ? kv_heads_ : 0);
        bias(from + "self_attn.v_proj", to + "attn_v", kv_width);
      }
      if (biased && kind == "llama") bias(from + "self_attn.o_proj", to + "attn_output", width_);
      if (kind == "qwen3") {
        vector(from + "self_attn.q_norm", to + "attn_q_norm", head_width_);
        vector(from + "self_attn.k_norm", to + "attn_k_norm", head_width_);
      }
      matrix(from + "self_attn.o_proj", to + "attn_output", width_, q_width);
      vector(from + "post_attention_layernorm", to + "ffn_norm", width_);
      if (kind == "phi3") {
        matrix(from + "mlp.gate_up_proj", to + "ffn_up", 2 * feed_forward_, width_);
      } else {
        matrix(from + "mlp.gate_proj", to + "ffn_gate", feed_forward_, width_);
        matrix(from + "mlp.up_proj", to + "ffn_up", feed_forward_, width_);
      }
      matrix(from + "mlp.down_proj", to + "ffn_down", width_, feed_forward_);
    }
  }

  const json& config_;
  CheckpointPlan plan_;
  std::optional<Error> problem_;
  std::uint64_t layers_ = 0, width_ = 0, heads_ = 0, kv_heads_ = 0, head_width_ = 0, feed_forward_ = 0, context_ = 0, rotated_ = 0;
  double base_ = 10000;
};

}  // namespace

Result<CheckpointPlan> plan_checkpoint(const json& config) {
  if (!config.is_object()) return Error{ErrorCode::corrupt, "config.json: it is not a JSON object"};
  return Planner(config).plan();
}

}  // namespace pensieve
