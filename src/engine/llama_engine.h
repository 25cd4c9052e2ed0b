// The engine that generates, made of loaded weights: for llama_load.cpp alone.
#pragma once

#include "engine/llama_backend.h"
#include "engine/llama_sight.h"

namespace pensieve {

Result<std::unique_ptr<Engine>> make_llama_engine(ModelHandle model, const llama_model_params& model_params, const EngineOptions& options);

// What its context would be, for the plan.
llama_context_params engine_context_params(const EngineOptions& options, const llama_model* model, bool own_attention);
// Where the engine computes on processors alone, and the model's attention suits one of our kernels.
bool attends_by_our_kernels(const llama_model_params& model_params, const llama_model* model);
bool has_whole_states(const llama_model* model);
SightOptions sight_options(const EngineOptions& options);

}  // namespace pensieve
