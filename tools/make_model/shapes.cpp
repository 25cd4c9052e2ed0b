#include "shapes.h"

#include <fmt/format.h>

#include <cmath>
#include <string_view>

namespace pensieve {
namespace {

// Figures of real models are those of their published configurations. The tiny ones have an output of their own: tied to
// random embeddings, a model says its last token again whatever came before, and tests of state would see nothing.
constexpr Shape kShapes[] = {
    {.name = "tiny", .title = "Tiny stand-in (phi3)", .architecture = "phi3", .family = Family::phi3, .layers = 4, .width = 256, .heads = 4,
     .kv_heads = 4, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .own_output = true},
    {.name = "tiny-longrope", .title = "Tiny stand-in (phi3, long-rope)", .architecture = "phi3", .family = Family::phi3, .layers = 3, .width = 256,
     .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .context_original = 1024, .own_output = true},
    {.name = "tiny-qwen3", .title = "Tiny stand-in (qwen3)", .architecture = "qwen3", .family = Family::chatml, .layers = 3, .width = 256, .heads = 4,
     .kv_heads = 2, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .own_output = true},
    {.name = "tiny-gemma3", .title = "Tiny stand-in (gemma3, sliding window)", .architecture = "gemma3", .family = Family::gemma, .layers = 7,
     .width = 256, .heads = 4, .kv_heads = 1, .head_width = 64, .feed_forward = 512, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .window = 256,
     .own_output = true},
    {.name = "tiny-qwen3moe", .title = "Tiny stand-in (qwen3moe)", .architecture = "qwen3moe", .family = Family::chatml, .layers = 3, .width = 256,
     .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 256, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .experts = 8,
     .experts_used = 2, .own_output = true},
    {.name = "tiny-granitemoe", .title = "Tiny stand-in (granitemoe)", .architecture = "granitemoe", .family = Family::granite, .layers = 3,
     .width = 256, .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 256, .vocabulary = 4096, .context = 32768, .experts = 8, .experts_used = 2,
     .own_output = true},
    {.name = "tiny-deepmoe", .title = "Tiny stand-in (granitemoe of 24 layers)", .architecture = "granitemoe", .family = Family::granite, .layers = 24,
     .width = 256, .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 256, .vocabulary = 4096, .context = 32768, .experts = 8, .experts_used = 8,
     .own_output = true},
    {.name = "tiny-lfm2", .title = "Tiny stand-in (lfm2, hybrid)", .architecture = "lfm2", .family = Family::chatml, .layers = 6, .width = 256,
     .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .own_output = true, .layer_kinds = "ccacca"},
    {.name = "tiny-mamba2", .title = "Tiny stand-in (mamba2, recurrent)", .architecture = "mamba2", .family = Family::chatml, .layers = 4, .width = 256,
     .heads = 8, .kv_heads = 0, .head_width = 64, .feed_forward = 0, .vocabulary = 4096, .context = 32768, .own_output = true, .state_width = 64},
    {.name = "tiny-qwen2vl", .title = "Tiny stand-in (qwen2vl, M-RoPE)", .architecture = "qwen2vl", .family = Family::chatml, .layers = 3, .width = 256, .heads = 4,
     .kv_heads = 2, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .own_output = true},
    {.name = "tiny-bert", .title = "Tiny stand-in (bert, embeddings)", .architecture = "bert", .family = Family::bert, .layers = 3, .width = 128, .heads = 4,
     .kv_heads = 4, .head_width = 32, .feed_forward = 512, .vocabulary = 4096, .context = 2048, .pooling = Pooling::mean},
    {.name = "tiny-qwen3-embedding", .title = "Tiny stand-in (qwen3, embeddings)", .architecture = "qwen3", .family = Family::chatml, .layers = 3, .width = 256,
     .heads = 4, .kv_heads = 2, .head_width = 64, .feed_forward = 768, .vocabulary = 4096, .context = 32768, .rope_base = 1e6f, .pooling = Pooling::last},
    {.name = "small", .title = "Small stand-in (phi3, grouped-query)", .architecture = "phi3", .family = Family::phi3, .layers = 16, .width = 1024,
     .heads = 16, .kv_heads = 4, .head_width = 64, .feed_forward = 2816, .vocabulary = 32064, .context = 32768, .own_output = true},
    {.name = "phi3-mini-4k", .title = "Phi-3-mini-4k stand-in", .architecture = "phi3", .family = Family::phi3, .layers = 32, .width = 3072, .heads = 32,
     .kv_heads = 32, .head_width = 96, .feed_forward = 8192, .vocabulary = 32064, .context = 4096, .own_output = true},
    {.name = "phi3-mini-128k", .title = "Phi-3-mini-128k stand-in", .architecture = "phi3", .family = Family::phi3, .layers = 32, .width = 3072,
     .heads = 32, .kv_heads = 32, .head_width = 96, .feed_forward = 8192, .vocabulary = 32064, .context = 131072, .context_original = 4096, .own_output = true},
    {.name = "qwen3-4b", .title = "Qwen3-4B stand-in", .architecture = "qwen3", .family = Family::chatml, .layers = 36, .width = 2560, .heads = 32,
     .kv_heads = 8, .head_width = 128, .feed_forward = 9728, .vocabulary = 151936, .context = 40960, .rope_base = 1e6f},
    {.name = "gemma-3-1b", .title = "Gemma-3-1B stand-in", .architecture = "gemma3", .family = Family::gemma, .layers = 26, .width = 1152, .heads = 4,
     .kv_heads = 1, .head_width = 256, .feed_forward = 6912, .vocabulary = 262144, .context = 32768, .rope_base = 1e6f, .window = 512},
    {.name = "granite-3-1b-a400m", .title = "Granite-3-1B-A400M stand-in", .architecture = "granitemoe", .family = Family::granite, .layers = 24,
     .width = 1024, .heads = 16, .kv_heads = 8, .head_width = 64, .feed_forward = 512, .vocabulary = 49155, .context = 131072, .rope_base = 1.5e6f,
     .experts = 32, .experts_used = 8, .embedding_scale = 12, .residual_scale = 0.22f, .attention_scale = 1.0f / 64},
    {.name = "minilm-l6", .title = "all-MiniLM-L6 stand-in", .architecture = "bert", .family = Family::bert, .layers = 6, .width = 384, .heads = 12,
     .kv_heads = 12, .head_width = 32, .feed_forward = 1536, .vocabulary = 30522, .context = 512, .pooling = Pooling::mean},
    {.name = "qwen3-embedding-0.6b", .title = "Qwen3-Embedding-0.6B stand-in", .architecture = "qwen3", .family = Family::chatml, .layers = 28, .width = 1024,
     .heads = 16, .kv_heads = 8, .head_width = 128, .feed_forward = 3072, .vocabulary = 151669, .context = 32768, .rope_base = 1e6f, .pooling = Pooling::last},
    {.name = "qwen3-30b-a3b", .title = "Qwen3-30B-A3B stand-in", .architecture = "qwen3moe", .family = Family::chatml, .layers = 48, .width = 2048,
     .heads = 32, .kv_heads = 4, .head_width = 128, .feed_forward = 768, .vocabulary = 151936, .context = 40960, .rope_base = 1e6f, .experts = 128,
     .experts_used = 8, .own_output = true},
    {.name = "mamba2-780m", .title = "Mamba2-780M stand-in", .architecture = "mamba2", .family = Family::chatml, .layers = 48, .width = 1536,
     .heads = 48, .kv_heads = 0, .head_width = 64, .feed_forward = 0, .vocabulary = 50288, .context = 32768, .state_width = 128},
    {.name = "lfm2-1.2b", .title = "LFM2-1.2B stand-in", .architecture = "lfm2", .family = Family::chatml, .layers = 16, .width = 2048, .heads = 32,
     .kv_heads = 8, .head_width = 64, .feed_forward = 8192, .vocabulary = 65536, .context = 128000, .rope_base = 1e6f, .layer_kinds = "ccaccaccacacacac"},
};

class Drawing {
 public:
  explicit Drawing(const Shape& shape) : s_(shape) {}

  Blueprint draw() {
    const std::string_view architecture = s_.architecture;
    common();
    tensor("token_embd.weight", Precision::weight, {s_.width, s_.vocabulary});
    if (architecture == "bert") bert_embeddings();
    else norm(architecture == "lfm2" ? "token_embd_norm.weight" : "output_norm.weight", s_.width);
    if (s_.own_output) tensor("output.weight", Precision::output, {s_.width, s_.vocabulary});
    if (s_.context_original > 0) long_rope();
    for (std::int64_t i = 0; i < s_.layers; ++i) {
      block_ = fmt::format("blk.{}.", i);
      if (architecture == "phi3") phi3_layer();
      else if (architecture == "bert") bert_layer();
      else if (architecture == "gemma3") gemma3_layer();
      else if (architecture == "lfm2") lfm2_layer(s_.layer_kinds[i] == 'a');
      else if (architecture == "mamba2") mamba2_layer();
      else llama_layer(architecture.starts_with("qwen3"), architecture == "qwen2vl");
    }
    return std::move(made_);
  }

 private:
  void number(const char* key, std::int64_t value) { made_.numbers.emplace_back(key, static_cast<std::uint32_t>(value)); }
  void real(const char* key, float value) { made_.numbers.emplace_back(key, value); }
  void tensor(const std::string& name, Precision precision, std::vector<std::int64_t> dims, Fill fill = Fill::normal) {
    made_.tensors.push_back({name, precision, std::move(dims), fill});
  }
  void weight(const char* name, std::int64_t columns, std::int64_t rows) { tensor(block_ + name + ".weight", Precision::weight, {columns, rows}); }
  void norm(const std::string& name, std::int64_t width) { tensor(name, Precision::full, {width}, Fill::ones); }
  void block_norm(const char* name, std::int64_t width) { norm(block_ + name + ".weight", width); }

  void common() {
    number("context_length", s_.context);
    number("embedding_length", s_.width);
    number("block_count", s_.layers);
    number("vocab_size", s_.vocabulary);
    number("feed_forward_length", s_.feed_forward);
    if (s_.pooling != Pooling::none) number("pooling_type", static_cast<std::int64_t>(s_.pooling));
    if (s_.family == Family::bert) {
      real("attention.layer_norm_epsilon", 1e-12f);
      made_.numbers.emplace_back("attention.causal", false);
      number("attention.head_count", s_.heads);
      return;
    }
    real("attention.layer_norm_rms_epsilon", s_.family == Family::phi3 ? 1e-5f : 1e-6f);
    if (s_.state_width > 0) return recurrence();
    number("attention.head_count", s_.heads);
    if (*s_.layer_kinds == '\0') {
      number("attention.head_count_kv", s_.kv_heads);
    } else {  // A layer without attention has no KV heads.
      std::vector<std::int32_t> each;
      for (const char kind : std::string_view(s_.layer_kinds)) each.push_back(kind == 'a' ? static_cast<std::int32_t>(s_.kv_heads) : 0);
      made_.numbers.emplace_back("attention.head_count_kv", std::move(each));
      number("shortconv.l_cache", kConvolution);
    }
    number("attention.key_length", s_.head_width);
    number("attention.value_length", s_.head_width);
    number("rope.dimension_count", s_.head_width);
    real("rope.freq_base", s_.rope_base);
    if (s_.experts > 0) {
      number("expert_count", s_.experts);
      number("expert_used_count", s_.experts_used);
      number("expert_feed_forward_length", s_.feed_forward);
    }
    // How many pairs of a head turn by time, by row and by column.
    if (std::string_view(s_.architecture) == "qwen2vl") {
      const auto sixteenths = [&](std::int64_t count) { return static_cast<std::int32_t>(s_.head_width * count / 16); };
      made_.numbers.emplace_back("rope.dimension_sections", std::vector<std::int32_t>{sixteenths(2), sixteenths(3), sixteenths(3), 0});
    }
    if (s_.window > 0) number("attention.sliding_window", s_.window);
    if (s_.family == Family::granite) granite_scales();
  }

  void recurrence() {
    number("ssm.conv_kernel", kRecurrentConvolution);
    number("ssm.inner_size", inner());
    number("ssm.state_size", s_.state_width);
    number("ssm.time_step_rank", s_.heads);
    number("ssm.group_count", 1);
  }

  void granite_scales() {
    real("embedding_scale", s_.embedding_scale);
    real("residual_scale", s_.residual_scale);
    real("attention.scale", s_.attention_scale);
    real("logit_scale", 6);
  }

  void long_rope() {
    number("rope.scaling.original_context_length", s_.context_original);
    const auto original = static_cast<float>(s_.context_original);
    real("rope.scaling.attn_factor", std::sqrt(1 + std::log(static_cast<float>(s_.context) / original) / std::log(original)));
    tensor("rope_factors_long.weight", Precision::full, {s_.head_width / 2}, Fill::ramp);
    tensor("rope_factors_short.weight", Precision::full, {s_.head_width / 2}, Fill::ones);
  }

  void phi3_layer() {  // Fused qkv, fused gate and up.
    block_norm("attn_norm", s_.width);
    weight("attn_qkv", s_.width, (s_.heads + 2 * s_.kv_heads) * s_.head_width);
    weight("attn_output", s_.heads * s_.head_width, s_.width);
    block_norm("ffn_norm", s_.width);
    weight("ffn_up", s_.width, 2 * s_.feed_forward);
    weight("ffn_down", s_.feed_forward, s_.width);
  }

  void attention(bool head_norms) {
    weight("attn_q", s_.width, s_.heads * s_.head_width);
    weight("attn_k", s_.width, s_.kv_heads * s_.head_width);
    weight("attn_v", s_.width, s_.kv_heads * s_.head_width);
    weight("attn_output", s_.heads * s_.head_width, s_.width);
    if (!head_norms) return;
    block_norm("attn_q_norm", s_.head_width);
    block_norm("attn_k_norm", s_.head_width);
  }

  void feed_forward() {
    weight("ffn_gate", s_.width, s_.feed_forward);
    weight("ffn_up", s_.width, s_.feed_forward);
    weight("ffn_down", s_.feed_forward, s_.width);
  }

  void experts() {
    tensor(block_ + "ffn_gate_inp.weight", Precision::full, {s_.width, s_.experts});
    tensor(block_ + "ffn_gate_exps.weight", Precision::weight, {s_.width, s_.feed_forward, s_.experts});
    tensor(block_ + "ffn_up_exps.weight", Precision::weight, {s_.width, s_.feed_forward, s_.experts});
    tensor(block_ + "ffn_down_exps.weight", Precision::weight, {s_.feed_forward, s_.width, s_.experts});
  }

  void llama_layer(bool head_norms, bool biases) {
    block_norm("attn_norm", s_.width);
    attention(head_norms);
    if (biases) {
      tensor(block_ + "attn_q.bias", Precision::full, {s_.heads * s_.head_width});
      for (const char* part : {"attn_k.bias", "attn_v.bias"}) tensor(block_ + part, Precision::full, {s_.kv_heads * s_.head_width});
    }
    block_norm("ffn_norm", s_.width);
    if (s_.experts > 0) experts();
    else feed_forward();
  }

  void biased_norm(const std::string& name) {
    norm(name + ".weight", s_.width);
    tensor(name + ".bias", Precision::full, {s_.width});
  }
  void biased(const char* name, std::int64_t columns, std::int64_t rows) {
    weight(name, columns, rows);
    tensor(block_ + name + ".bias", Precision::full, {rows});
  }

  void bert_embeddings() {
    tensor("token_types.weight", Precision::full, {s_.width, kTokenTypes});
    tensor("position_embd.weight", Precision::full, {s_.width, s_.context});
    biased_norm("token_embd_norm");
  }

  void bert_layer() {  // Norms behind attention and behind the layer.
    for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output"}) biased(name, s_.width, s_.width);
    biased_norm(block_ + "attn_output_norm");
    biased("ffn_up", s_.width, s_.feed_forward);
    biased("ffn_down", s_.feed_forward, s_.width);
    biased_norm(block_ + "layer_output_norm");
  }

  void gemma3_layer() {
    block_norm("attn_norm", s_.width);
    attention(true);
    block_norm("post_attention_norm", s_.width);
    block_norm("ffn_norm", s_.width);
    feed_forward();
    block_norm("post_ffw_norm", s_.width);
  }

  void lfm2_layer(bool attends) {
    block_norm("attn_norm", s_.width);
    if (attends) {
      attention(true);
    } else {
      tensor(block_ + "shortconv.conv.weight", Precision::full, {kConvolution, s_.width});
      weight("shortconv.in_proj", s_.width, 3 * s_.width);
      weight("shortconv.out_proj", s_.width, s_.width);
    }
    block_norm("ffn_norm", s_.width);
    feed_forward();
  }

  std::int64_t inner() const { return s_.heads * s_.head_width; }

  void mamba2_layer() {
    const std::int64_t convolved = inner() + 2 * s_.state_width;
    block_norm("attn_norm", s_.width);
    weight("ssm_in", s_.width, inner() + convolved + s_.heads);
    tensor(block_ + "ssm_conv1d.weight", Precision::full, {kRecurrentConvolution, convolved});
    tensor(block_ + "ssm_conv1d.bias", Precision::full, {convolved});
    tensor(block_ + "ssm_dt.bias", Precision::full, {s_.heads}, Fill::slow);
    tensor(block_ + "ssm_a", Precision::full, {1, s_.heads}, Fill::decay);
    tensor(block_ + "ssm_d", Precision::full, {1, s_.heads}, Fill::ones);
    tensor(block_ + "ssm_norm.weight", Precision::full, {inner(), 1}, Fill::ones);
    weight("ssm_out", inner(), s_.width);
  }

  static constexpr std::int64_t kConvolution = 3;
  static constexpr std::int64_t kRecurrentConvolution = 4;

  const Shape& s_;
  std::string block_;
  Blueprint made_;
};

}  // namespace

std::span<const Shape> all_shapes() { return kShapes; }

Blueprint blueprint_of(const Shape& shape) { return Drawing(shape).draw(); }

}  // namespace pensieve
