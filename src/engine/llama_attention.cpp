#include "engine/llama_attention.h"

#include <fmt/format.h>
#include <ggml-backend.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace pensieve {
namespace {

// What a node of flash attention carries (ggml_flash_attn_ext, in this order), and where we keep
// it behind the parameters of a custom operation.
struct Parameters {
  float scale = 1;
  float bias_max = 0;
  float softcap = 0;
};
constexpr std::size_t kParametersAt = 40;
static_assert(kParametersAt + sizeof(Parameters) <= GGML_MAX_OP_PARAMS);

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

bool on_processor(const ggml_tensor* tensor) {
  const ggml_backend_buffer* buffer = tensor->view_src != nullptr ? tensor->view_src->buffer : tensor->buffer;
  return buffer != nullptr && ggml_backend_buffer_is_host(const_cast<ggml_backend_buffer*>(buffer));
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

struct ScratchDeleter {
  void operator()(float* memory) const { std::free(memory); }
};

// This thread's own; grows to what the widest layer needs.
float* scratch_of(std::size_t floats) {
  thread_local std::unique_ptr<float, ScratchDeleter> memory;
  thread_local std::size_t size = 0;
  if (size < floats) {
    memory.reset(static_cast<float*>(std::aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64)));
    CHECK(memory != nullptr, "the attention kernels get their scratch memory");
    size = floats;
  }
  return memory.get();
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
  // A custom operation as the engine itself makes it; only its kind and parameters are taken over.
  alignas(64) std::array<std::byte, 4096> room;
  ggml_context* scratch = ggml_init({room.size(), room.data(), true});
  if (scratch == nullptr) return false;
  ggml_tensor* none[1] = {ggml_new_tensor_1d(scratch, GGML_TYPE_F32, 1)};
  const ggml_tensor* custom =
      ggml_custom_4d(scratch, GGML_TYPE_F32, 1, 1, 1, 1, none, 1, &LlamaAttention::compute, GGML_N_TASKS_MAX, this);
  std::memcpy(node->op_params, custom->op_params, sizeof(node->op_params));
  std::memcpy(reinterpret_cast<std::byte*>(node->op_params) + kParametersAt, &parameters, sizeof(parameters));
  node->op = custom->op;
  ggml_free(scratch);
  return true;
}

void LlamaAttention::compute(ggml_tensor* node, int part, int parts, void* self) {
  Parameters parameters;
  std::memcpy(&parameters, reinterpret_cast<const std::byte*>(node->op_params) + kParametersAt, sizeof(parameters));
  AttentionInput in;
  CHECK(describe(node, parameters, in), "a node that was adopted keeps its form");
  static_cast<LlamaAttention*>(self)->kernel_->run(in, part, parts,
                                                   scratch_of(attention_scratch_floats(in.key_width, in.value_width)));
}

Result<void> LlamaAttention::prove(llama_context* context, const llama_model* model) {
  constexpr std::int32_t kMany = 12;  // A step of many rows, then one of one.
  const std::int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  llama_batch batch = llama_batch_init(kMany, 0, 1);
  const auto step = [&](std::int32_t begin, std::int32_t count) {
    batch.n_tokens = count;
    for (std::int32_t i = 0; i < count; ++i) {
      batch.token[i] = static_cast<llama_token>((std::int64_t{begin + i} * 7919 + 1) % vocabulary);
      batch.pos[i] = begin + i;
      batch.n_seq_id[i] = 1;
      batch.seq_id[i][0] = 0;
      batch.logits[i] = i + 1 == count ? 1 : 0;
    }
    return llama_decode(context, batch) == 0;
  };
  const auto run = [&](std::vector<float>& logits) {
    logits.clear();
    bool good = true;
    for (const auto& [begin, count] : {std::pair{0, kMany}, std::pair{kMany, 1}}) {
      good = good && step(begin, count);
      if (good)
        logits.insert(logits.end(), llama_get_logits_ith(context, -1), llama_get_logits_ith(context, -1) + vocabulary);
    }
    llama_memory_seq_rm(llama_get_memory(context), 0, -1, -1);
    return good;
  };
  std::vector<float> engines, ours;
  in_use_ = false;
  bool good = run(engines);
  in_use_ = true;
  good = good && run(ours);
  llama_batch_free(batch);
  const auto fail = [&](std::string why) -> Result<void> {
    in_use_ = false;
    return Error{ErrorCode::unavailable, std::move(why)};
  };
  if (!good) return fail("the engine failed its first steps");
  if (adopted_ == 0) return fail("the engine's graph has no flash attention");
  if (left_ > 0) return fail(fmt::format("{} of its attention nodes do not suit the kernels", left_));
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (!std::isfinite(ours[i])) return fail("logits that are no numbers");
    largest = std::max(largest, std::abs(engines[i]));
    difference = std::max(difference, std::abs(engines[i] - ours[i]));
  }
  // The engine rounds queries and sums to half precision, and activations to 8 bits after that: what differs here is
  // not ours alone.
  constexpr float kShareAllowed = 0.05f;
  if (difference > kShareAllowed * largest) return fail(fmt::format("logits differ by {} of {}", difference, largest));
  return {};
}

}  // namespace pensieve
