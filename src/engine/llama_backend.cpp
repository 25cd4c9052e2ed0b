#include "engine/llama_backend.h"

#include <ggml-backend.h>

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "platform/cores.h"

namespace pensieve {
namespace {

// libllama explains a failed load only in its log; the last complaint is kept.
thread_local std::string last_engine_error;

// The engine said that it could not allocate: what it reports afterwards follows from that.
std::atomic<bool> memory_was_short = false;
void (*abort_callback)(bool, const char*) = nullptr;

// The engine tells its sums in its log alone: "compute buffer size = 12.00 MiB", "size = 16.00 MiB ( 1024 cells".
thread_local EngineNeeds* needs_to_fill = nullptr;

void note_needs(std::string_view line) {
  constexpr std::string_view kSize = "size =";
  const std::size_t mark = line.find(kSize);
  if (mark == std::string_view::npos) return;
  const std::string after(line.substr(mark + kSize.size()));
  char* end = nullptr;
  const double mib = std::strtod(after.c_str(), &end);
  if (!std::string_view(end).starts_with(" MiB")) return;  // Caches with a window say first how many cells they have.
  const auto bytes = static_cast<std::uint64_t>(std::ceil(mib * 1048576.0));
  const std::string_view before = line.substr(0, mark);
  if (line.find(" cells") != std::string_view::npos) needs_to_fill->kv_bytes += bytes;
  else if (before.ends_with("compute buffer ") || before.ends_with("output buffer ")) needs_to_fill->compute_bytes += bytes;
}

void on_engine_log(ggml_log_level level, const char* text, void*) {
  std::string_view line = text;
  if (needs_to_fill != nullptr) note_needs(line);
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (line.empty()) return;
  if (level == GGML_LOG_LEVEL_ERROR) {
    if (line.find("insufficient memory") != std::string_view::npos || line.find("failed to allocate") != std::string_view::npos) memory_was_short = true;
    last_engine_error = line;
    log::warn("engine: {}", line);
  } else if (level == GGML_LOG_LEVEL_WARN) {
    log::debug("engine: {}", line);
  } else {
    log::trace("engine: {}", line);
  }
}

std::string device_names() {
  std::string names;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (!names.empty()) names += ", ";
    names += fmt::format("{} ({})", ggml_backend_dev_name(device), ggml_backend_dev_description(device));
  }
  return names;
}

}  // namespace

void on_llama_abort(void (*callback)(bool, const char*)) {
  abort_callback = callback;
  ggml_set_abort_callback([](const char* message) { abort_callback(memory_was_short, message); });
}

std::string llama_engine_version() { return llama_version(); }

bool has_gpu() {
  return ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU) != nullptr || ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU) != nullptr;
}

Error load_error(const std::string& path) {
  return {memory_was_short ? ErrorCode::overloaded : ErrorCode::corrupt,
          fmt::format("{}--model: '{}' could not be loaded: {}", memory_was_short ? "the model process could not allocate memory within its cap; " : "", path,
                                          last_engine_error.empty() ? "the engine gave no reason" : last_engine_error)};
}

Result<void> start_backends() {
  llama_log_set(on_engine_log, nullptr);
  if (const std::string plugins = PENSIEVE_ENGINE_PLUGINS; plugins.empty()) ggml_backend_load_all();
  else ggml_backend_load_all_from_path(plugins.c_str());
  llama_backend_init();
  if (ggml_backend_dev_count() == 0) return Error{ErrorCode::unavailable, "the engine found no backend for this machine's processor"};
  return {};
}

llama_model_params model_params_for(const EngineOptions& options) {
  llama_model_params model_params = llama_model_default_params();
  model_params.use_extra_bufts = false;  // A repacked copy doubles the weights (DESIGN section 3).
  model_params.load_mode = LLAMA_LOAD_MODE_MMAP;
  model_params.n_gpu_layers = options.gpu_layers >= 0 ? options.gpu_layers : (has_gpu() ? -1 : 0);
  return model_params;
}

ModelHandle load_weights(const EngineOptions& options, const llama_model_params& params) { return ModelHandle(llama_model_load_from_file(options.model_path.c_str(), params)); }

ContextHandle make_context(llama_model* model, const llama_context_params& params, EngineNeeds& taken) {
  taken = {};
  needs_to_fill = &taken;
  ContextHandle made(llama_init_from_model(model, params));
  needs_to_fill = nullptr;
  return made;
}

std::string engine_complaint() { return last_engine_error; }

void count_nodes(llama_context* context, std::atomic<std::uint64_t>& pulse) {
  // Processors call it for every node of the graph; false means: go on.
  llama_set_abort_callback(
      context,
      [](void* counter) {
        static_cast<std::atomic<std::uint64_t>*>(counter)->fetch_add(1, std::memory_order_relaxed);
        return false;
      },
      &pulse);
}

std::string metadata(const llama_model* model, const char* key) {
  std::array<char, 256> value{};
  const int length = llama_model_meta_val_str(model, key, value.data(), value.size());
  return length < 0 ? std::string() : std::string(value.data());
}

EngineFacts common_facts(const llama_model* model, const EngineOptions& options) {
  EngineFacts facts;
  facts.name = metadata(model, "general.name");
  if (facts.name.empty()) facts.name = std::filesystem::path(options.model_path).stem().string();
  facts.architecture = metadata(model, "general.architecture");
  if (const char* source = llama_model_chat_template(model, nullptr)) facts.chat_template = source;
  facts.backends = device_names();
  facts.parameters = llama_model_n_params(model);
  std::error_code unknown;
  const auto file_bytes = std::filesystem::file_size(options.model_path, unknown);
  facts.file_bytes = unknown ? 0 : file_bytes;
  facts.context_trained = llama_model_n_ctx_train(model);
  facts.slots = options.slots;
  return facts;
}

std::int32_t threads_of(const EngineOptions& options) { return options.threads > 0 ? options.threads : compute_threads(); }

}  // namespace pensieve
