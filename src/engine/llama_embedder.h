// The engine that makes embeddings: one sequence in a context that pools, read in as few
// steps as the model allows (docs/decisions/0013).
#pragma once

#include "engine/llama_backend.h"

namespace pensieve {

// Whether a model makes embeddings, and how.
struct EmbedderKind {
  bool embeds = false;
  enum llama_pooling_type pooling = LLAMA_POOLING_TYPE_NONE;
  bool whole = false;  // Its rows see each other, or the pooling needs them all: an input is one step.
};
// By its file: a pooling, an encoder, or attention that looks ahead. Errors: unavailable, for what is of no use here.
Result<EmbedderKind> embedder_kind(const llama_model* model);

Result<std::unique_ptr<Embedder>> make_llama_embedder(ModelHandle model, const EngineOptions& options, const EmbedderKind& kind);

// What its context would be, for the plan; and how many tokens an input may have in it.
llama_context_params embedder_context_params(const EngineOptions& options, const llama_model* model, const EmbedderKind& kind);
std::int32_t embedder_context_tokens(const EngineOptions& options, const llama_model* model);

}  // namespace pensieve
