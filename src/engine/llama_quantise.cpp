#include "engine/llama_quantise.h"

#include <ggml-backend.h>
#include <llama.h>

#include <fmt/format.h>

#include <algorithm>
#include <exception>

namespace pensieve {
namespace {

struct Type {
  const char* name;
  llama_ftype type;
};
constexpr Type kTypes[] = {{"q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},     {"q4_k_s", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"q4_k_m", LLAMA_FTYPE_MOSTLY_Q4_K_M},
                           {"q5_k_m", LLAMA_FTYPE_MOSTLY_Q5_K_M}, {"q6_k", LLAMA_FTYPE_MOSTLY_Q6_K}};

void keep_errors(ggml_log_level level, const char* text, void* user) {
  if (level != GGML_LOG_LEVEL_ERROR) return;
  auto& last = *static_cast<std::string*>(user);
  last = text;
  while (!last.empty() && last.back() == '\n') last.pop_back();
}

}  // namespace

Result<void> llama_quantise(const std::string& from, const std::string& to, const std::string& type) {
  const auto known = std::ranges::find_if(kTypes, [&](const Type& each) { return type == each.name; });
  if (known == std::end(kTypes)) return Error{ErrorCode::invalid_argument, fmt::format("TYPE: '{}' is none of q4_0, q4_k_s, q4_k_m, q5_k_m, q6_k", type)};
  std::string complaint;
  llama_log_set(keep_errors, &complaint);
  llama_backend_init();
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = known->type;
  params.max_buf_size = std::size_t{256} << 20;
  std::uint32_t code = 1;
  try {
    code = llama_model_quantize(from.c_str(), to.c_str(), &params);
  } catch (const std::exception& problem) {
    complaint = problem.what();
  }
  llama_log_set(nullptr, nullptr);
  if (code == 0) return {};
  return Error{ErrorCode::internal, fmt::format("the engine could not quantise '{}': {}", from, complaint.empty() ? "it gave no reason" : complaint)};
}

}  // namespace pensieve
