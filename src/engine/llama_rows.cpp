#include "engine/llama_rows.h"

namespace pensieve {
namespace {

bool works_row_by_row(ggml_op op) {
  switch (op) {
    case GGML_OP_NONE:
    case GGML_OP_RESHAPE:
    case GGML_OP_VIEW:
    case GGML_OP_PERMUTE:
    case GGML_OP_TRANSPOSE:
    case GGML_OP_CONT:
    case GGML_OP_CPY:
    case GGML_OP_DUP:
    case GGML_OP_GET_ROWS:
    case GGML_OP_SET_ROWS:
    case GGML_OP_ADD:
    case GGML_OP_MUL:
    case GGML_OP_SCALE:
    case GGML_OP_CLAMP:
    case GGML_OP_UNARY:
    case GGML_OP_GLU:
    case GGML_OP_NORM:
    case GGML_OP_RMS_NORM:
    case GGML_OP_ROPE:
    case GGML_OP_CUSTOM:  // Ours.
      return true;
    default:
      return false;
  }
}

}  // namespace

void LlamaRows::on_node(const ggml_tensor* node) {
  seen_ = true;
  if (!other_.empty() || works_row_by_row(node->op)) return;
  other_ = ggml_op_name(node->op);
  if (node->op == GGML_OP_MUL_MAT && node->src[0] != nullptr) other_ += std::string(" of ") + ggml_type_name(node->src[0]->type);
}

}  // namespace pensieve
