#include "engine/llama_attention.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <span>

#include "base/check.h"
#include "engine/llama_custom_node.h"

namespace pensieve {
namespace {

// What a node of flash attention carries (ggml_flash_attn_ext, in this order).
struct Parameters {
  float scale = 1;
  float bias_max = 0;
  float softcap = 0;
};

constexpr int kSources = 5;  // Queries, keys, values, mask, sinks.

bool cell_format(const ggml_tensor* tensor, CellFormat& format) {
  if (tensor->type == GGML_TYPE_F16)
    format = CellFormat::f16;
  else if (tensor->type == GGML_TYPE_Q8_0)
    format = CellFormat::q8_0;
  else
    return false;
  return tensor->nb[0] == ggml_type_size(tensor->type);
}

const std::byte* bytes(const ggml_tensor* tensor) { return static_cast<const std::byte*>(tensor->data); }

// Nothing when the kernels cannot do this node.
bool describe(const ggml_tensor* node, const Parameters& parameters, AttentionInput& in) {
  const ggml_tensor* q = node->src[0];
  const ggml_tensor* k = node->src[1];
  const ggml_tensor* v = node->src[2];
  const ggml_tensor* mask = node->src[3];
  const ggml_tensor* sinks = node->src[4];
  if (q == nullptr || k == nullptr || v == nullptr) return false;
  for (int i = kSources; i < GGML_MAX_SRC; ++i) {
    if (node->src[i] != nullptr) return false;
  }
  if (q->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32 || q->nb[0] != sizeof(float) || parameters.bias_max != 0)
    return false;
  if (!cell_format(k, in.k_format) || !cell_format(v, in.v_format)) return false;
  in.rows = q->ne[1];
  in.heads = q->ne[2];
  in.streams = q->ne[3];
  in.cells = k->ne[1];
  in.kv_heads = k->ne[2];
  in.key_width = q->ne[0];
  in.value_width = v->ne[0];
  if (k->ne[0] != in.key_width || v->ne[1] != in.cells || v->ne[2] != in.kv_heads || k->ne[3] != in.streams ||
      v->ne[3] != in.streams)
    return false;
  in.q = bytes(q), in.q_row = q->nb[1], in.q_head = q->nb[2], in.q_stream = q->nb[3];
  in.k = bytes(k), in.k_cell = k->nb[1], in.k_head = k->nb[2], in.k_stream = k->nb[3];
  in.v = bytes(v), in.v_cell = v->nb[1], in.v_head = v->nb[2], in.v_stream = v->nb[3];
  if (mask != nullptr) {
    if (mask->type != GGML_TYPE_F16 || mask->nb[0] != 2 || mask->ne[0] < in.cells || mask->ne[1] < in.rows ||
        mask->ne[2] != 1)
      return false;
    if (mask->ne[3] != in.streams && mask->ne[3] != 1) return false;
    in.mask = bytes(mask), in.mask_row = mask->nb[1], in.mask_stream = mask->ne[3] == 1 ? 0 : mask->nb[3];
  }
  if (sinks != nullptr) {
    if (sinks->type != GGML_TYPE_F32 || ggml_nelements(sinks) != in.heads) return false;
    in.sinks = static_cast<const float*>(sinks->data);
  }
  if (node->ne[0] != in.value_width || node->ne[1] != in.heads || node->ne[2] != in.rows || node->ne[3] != in.streams ||
      node->nb[0] != sizeof(float))
    return false;
  in.out = static_cast<std::byte*>(node->data);
  in.out_head = node->nb[1], in.out_row = node->nb[2], in.out_stream = node->nb[3];
  in.scale = parameters.scale;
  in.softcap = parameters.softcap;
  return attention_takes(in);
}

std::int64_t number_of(const llama_model* model, const char* key) {
  std::array<char, 64> architecture{}, value{};
  if (llama_model_meta_val_str(model, "general.architecture", architecture.data(), architecture.size()) < 0) return 0;
  const std::string name = fmt::format("{}.{}", architecture.data(), key);
  return llama_model_meta_val_str(model, name.c_str(), value.data(), value.size()) < 0 ? 0 : std::atoll(value.data());
}

}  // namespace

LlamaAttention::LlamaAttention() : kernel_(attention_kernel()) {}

bool LlamaAttention::suits(const llama_model* model) {
  if (attention_kernel() == nullptr || llama_model_has_encoder(model)) return false;
  const std::int64_t heads = llama_model_n_head(model);
  const std::int64_t width = heads > 0 ? llama_model_n_embd(model) / heads : 0;
  AttentionInput in;
  in.heads = in.kv_heads = 1;
  in.key_width = number_of(model, "attention.key_length");
  in.value_width = number_of(model, "attention.value_length");
  if (in.key_width == 0) in.key_width = width;
  if (in.value_width == 0) in.value_width = width;
  return attention_takes(in);
}

void LlamaAttention::on_node(ggml_tensor* node) {
  if (!in_use_ || node->op != GGML_OP_FLASH_ATTN_EXT) return;
  ++(adopt(node) ? adopted_ : left_);
}

bool LlamaAttention::adopt(ggml_tensor* node) {
  Parameters parameters;
  std::memcpy(&parameters, node->op_params, sizeof(parameters));
  AttentionInput in;
  if (!on_processor(node) || !describe(node, parameters, in)) return false;
  return make_custom(node, &LlamaAttention::compute, this, std::as_bytes(std::span(&parameters, 1)));
}

void LlamaAttention::compute(ggml_tensor* node, int part, int parts, void* self) {
  Parameters parameters;
  std::memcpy(&parameters, custom_parameters(node), sizeof(parameters));
  AttentionInput in;
  CHECK(describe(node, parameters, in), "a node that was adopted keeps its form");
  const std::size_t floats = attention_scratch_floats(in.key_width, in.value_width);
  static_cast<LlamaAttention*>(self)->kernel_->run(in, part, parts, reinterpret_cast<float*>(thread_scratch(floats * sizeof(float))));
}

Result<void> LlamaAttention::complete() const {
  if (adopted_ == 0) return Error{ErrorCode::unavailable, "the engine's graph has no flash attention"};
  if (left_ > 0) return Error{ErrorCode::unavailable, fmt::format("{} of its attention nodes do not suit the kernels", left_)};
  return {};
}

}  // namespace pensieve
