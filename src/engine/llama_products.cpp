#include "engine/llama_products.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "engine/llama_custom_node.h"

namespace pensieve {
namespace {

bool weight_format(ggml_type type, WeightFormat& format) {
  switch (type) {
    case GGML_TYPE_Q4_K: return format = WeightFormat::q4_k, true;
    case GGML_TYPE_Q5_K: return format = WeightFormat::q5_k, true;
    case GGML_TYPE_Q6_K: return format = WeightFormat::q6_k, true;
    case GGML_TYPE_Q4_0: return format = WeightFormat::q4_0, true;
    case GGML_TYPE_Q4_1: return format = WeightFormat::q4_1, true;
    case GGML_TYPE_Q8_0: return format = WeightFormat::q8_0, true;
    default: return false;
  }
}

bool is_matrix(const ggml_tensor* tensor, std::size_t number_bytes) {
  return tensor->ne[2] == 1 && tensor->ne[3] == 1 && tensor->nb[0] == number_bytes;
}

// Rows at one distance, whatever they are grouped by: recurrent layers put those of each sequence together, and with one
// sequence in a step that is a matrix. What is ours alone must be ours in company.
bool is_list_of_rows(const ggml_tensor* tensor) {
  return tensor->nb[0] == sizeof(float) && (tensor->ne[2] == 1 || tensor->nb[2] == static_cast<std::size_t>(tensor->ne[1]) * tensor->nb[1]) && tensor->ne[3] == 1;
}

// Nothing when the kernel cannot do this node.
bool describe(const ggml_tensor* node, ProductInput& in) {
  const ggml_tensor* weights = node->src[0];
  const ggml_tensor* activations = node->src[1];
  if (weights == nullptr || activations == nullptr || node->src[2] != nullptr) return false;
  if (!weight_format(weights->type, in.format) || activations->type != GGML_TYPE_F32 || node->type != GGML_TYPE_F32) return false;
  if (!is_matrix(weights, ggml_type_size(weights->type)) || !is_list_of_rows(activations) || !is_list_of_rows(node)) return false;
  if (weights->ne[0] != activations->ne[0] || node->ne[0] != weights->ne[1] || node->ne[1] != activations->ne[1] || node->ne[2] != activations->ne[2]) return false;
  in.weights = static_cast<const std::byte*>(weights->data);
  in.weights_row = weights->nb[1];
  in.activations = static_cast<const std::byte*>(activations->data);
  in.activations_row = activations->nb[1];
  in.out = static_cast<std::byte*>(node->data);
  in.out_row = node->nb[1];
  in.width = weights->ne[0];
  in.outputs = weights->ne[1];
  in.rows = activations->ne[1] * activations->ne[2];
  return product_takes(in);
}

}  // namespace

LlamaProducts::LlamaProducts() : kernel_(product_kernel()) {}

void LlamaProducts::on_node(ggml_tensor* node) {
  if (!in_use_ || kernel_ == nullptr || node->op != GGML_OP_MUL_MAT) return;
  ProductInput in;
  if (!describe(node, in) || !on_processor(node) || !on_processor(node->src[0]) || !trusts(node->src[0], in)) return;
  if (make_custom(node, &LlamaProducts::compute, this, {})) ++adopted_;
}

void LlamaProducts::compute(ggml_tensor* node, int part, int parts, void* self) {
  ProductInput in;
  CHECK(describe(node, in), "a node that was adopted keeps its form");
  static_cast<LlamaProducts*>(self)->kernel_->run(in, part, parts, thread_scratch(product_scratch_bytes(in.width, in.rows)));
}

// The kernel's products of a few rows of these weights beside sums by hand; and of many rows at once beside those of one.
bool LlamaProducts::trusts(const ggml_tensor* weights, const ProductInput& form) {
  constexpr std::int64_t kMany = 16;
  const auto known = trusted_.find(weights->type);
  if (known != trusted_.end()) return known->second;
  ProductInput few = form;
  few.outputs = std::min<std::int64_t>(form.outputs, 4);
  few.rows = kMany;
  const auto width = static_cast<std::size_t>(form.width);
  std::vector<float> activations(width), row(width), results(static_cast<std::size_t>(few.outputs)), many(static_cast<std::size_t>(few.outputs * kMany));
  for (std::size_t i = 0; i < width; ++i) activations[i] = static_cast<float>(i * 7919 % 2003) / 1001 - 1;
  few.activations = reinterpret_cast<const std::byte*>(activations.data());
  few.activations_row = 0;  // All rows are the same.
  few.out_row = results.size() * sizeof(float);
  few.out = reinterpret_cast<std::byte*>(many.data());
  kernel_->run(few, 0, 1, thread_scratch(product_scratch_bytes(few.width, kMany)));
  few.rows = 1;
  few.out = reinterpret_cast<std::byte*>(results.data());
  kernel_->run(few, 0, 1, thread_scratch(product_scratch_bytes(few.width, 1)));
  bool right = true;
  for (std::size_t i = 0; i < many.size(); ++i) right = right && many[i] == results[i % results.size()];
  for (std::size_t n = 0; n < results.size(); ++n) {
    ggml_get_type_traits(weights->type)->to_float(form.weights + n * form.weights_row, row.data(), form.width);
    double sum = 0, squares = 0, activation_squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      sum += static_cast<double>(row[i]) * static_cast<double>(activations[i]);
      squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
      activation_squares += static_cast<double>(activations[i]) * static_cast<double>(activations[i]);
    }
    // Rounding these activations to 8 bits is noise of 0.004 of their length; five times that (products_test.cpp has the sum).
    right = right && std::abs(static_cast<double>(results[n]) - sum) <= 0.02 / std::sqrt(static_cast<double>(width)) * std::sqrt(squares * activation_squares);
  }
  if (!right) log::warn("products of {} weights stay the engine's own: the kernel '{}' differs from the engine's unpacking, or with the number of rows", ggml_type_name(weights->type), kernel_->name);
  trusted_[weights->type] = right;
  return right;
}

}  // namespace pensieve
