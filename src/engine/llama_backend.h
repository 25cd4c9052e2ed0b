// libllama as such, beneath what is made with it: its backends, its log (where it explains
// what went wrong and tells what it allocates), its handles, what a model's file says.
//
//   Threads  those that load and run a model; the log's last complaint is each thread's own.
#pragma once

#include <llama.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/engine.h"

namespace pensieve {

struct ModelDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct ContextDeleter {
  void operator()(llama_context* context) const { llama_free(context); }
};
using ModelHandle = std::unique_ptr<llama_model, ModelDeleter>;
using ContextHandle = std::unique_ptr<llama_context, ContextDeleter>;

Result<void> start_backends();
llama_model_params model_params_for(const EngineOptions& options);
// On an error `params.progress_callback` may have been called already. Null: see load_error().
ModelHandle load_weights(const EngineOptions& options, const llama_model_params& params);
// `taken` becomes what it allocates, by the engine's own sums. Null: see load_error().
ContextHandle make_context(llama_model* model, const llama_context_params& params, EngineNeeds& taken);

Error load_error(const std::string& path);
std::string engine_complaint();  // What libllama's log said last of something that failed.

// Adds to `pulse`, which outlives the context, for every node of a graph that processors compute.
void count_nodes(llama_context* context, std::atomic<std::uint64_t>& pulse);

std::string metadata(const llama_model* model, const char* key);  // Empty: it has no such key.
// What a model's file and the backends say, whatever is made of it.
EngineFacts common_facts(const llama_model* model, const EngineOptions& options);

bool has_gpu();
std::int32_t threads_of(const EngineOptions& options);

}  // namespace pensieve
