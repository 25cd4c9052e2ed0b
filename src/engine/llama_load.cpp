// What a GGUF becomes: an engine that generates, or one that makes embeddings, as its file says.
#include <fmt/format.h>

#include <filesystem>

#include "engine/llama_embedder.h"
#include "engine/llama_engine.h"

namespace pensieve {

Result<LoadedModel> load_llama_model(const EngineOptions& options, const std::function<void(double)>& on_progress) {
  std::error_code status;
  (void)std::filesystem::file_size(options.model_path, status);
  if (status) return Error{ErrorCode::not_found, fmt::format("--model: '{}' cannot be read: {}", options.model_path, status.message())};

  if (const Result<void> started = start_backends(); !started) return started.error();
  llama_model_params params = model_params_for(options);
  params.progress_callback = [](float progress, void* user) {
    (*static_cast<const std::function<void(double)>*>(user))(static_cast<double>(progress));
    return true;
  };
  params.progress_callback_user_data = const_cast<std::function<void(double)>*>(&on_progress);
  ModelHandle model = load_weights(options, params);
  if (!model) return load_error(options.model_path);
  const Result<EmbedderKind> kind = embedder_kind(model.get());
  if (!kind) return kind.error();
  if (kind->embeds) {
    auto embedder = make_llama_embedder(std::move(model), options, *kind);
    if (!embedder) return std::move(embedder).error();
    return LoadedModel(*std::move(embedder));
  }
  auto engine = make_llama_engine(std::move(model), params, options);
  if (!engine) return std::move(engine).error();
  return LoadedModel(*std::move(engine));
}

Result<std::unique_ptr<Engine>> load_llama_engine(const EngineOptions& options, const std::function<void(double)>& on_progress) {
  auto loaded = load_llama_model(options, on_progress);
  if (!loaded) return std::move(loaded).error();
  if (auto* engine = std::get_if<std::unique_ptr<Engine>>(&*loaded)) return std::move(*engine);
  return Error{ErrorCode::unavailable, fmt::format("'{}' makes embeddings, it does not generate", options.model_path)};
}

Result<std::vector<EngineNeeds>> plan_llama_model(const EngineOptions& options, std::span<const EngineVariant> variants) {
  if (const Result<void> started = start_backends(); !started) return started.error();
  llama_model_params model_params = model_params_for(options);
  model_params.no_alloc = true;
  model_params.load_mode = LLAMA_LOAD_MODE_NONE;
  const ModelHandle model = load_weights(options, model_params);
  if (!model) return load_error(options.model_path);
  const Result<EmbedderKind> kind = embedder_kind(model.get());
  if (!kind) return kind.error();
  if (kind->embeds && options.kv_type != KvType::f16) return Error{ErrorCode::unavailable, "a model that makes embeddings has no such KV type"};
  std::vector<EngineNeeds> all;
  for (const EngineVariant& variant : variants) {
    EngineOptions with = options;
    with.kv_type = variant.kv_type;
    with.context_tokens = variant.context_tokens;
    const llama_context_params params =
        kind->embeds ? embedder_context_params(with, model.get(), *kind) : engine_context_params(with, model.get(), attends_by_our_kernels(model_params, model.get()));
    EngineNeeds needs;
    const ContextHandle context = make_context(model.get(), params, needs);
    if (!context) continue;  // Not every model takes every KV type.
    needs.kv_type = variant.kv_type;
    needs.attention_matrix = params.flash_attn_type == LLAMA_FLASH_ATTN_TYPE_DISABLED;
    needs.whole_states = !kind->embeds && has_whole_states(model.get());
    needs.context_tokens = kind->embeds ? embedder_context_tokens(with, model.get()) : static_cast<std::int32_t>(llama_n_ctx_seq(context.get()));
    needs.whole_steps = kind->embeds && kind->whole;
    if (kind->embeds) needs.vector_size = llama_model_n_embd_out(model.get());
    needs.context_trained = llama_model_n_ctx_train(model.get());
    needs.heads = llama_model_n_head(model.get());
    needs.embedding = llama_model_n_embd(model.get());
    needs.vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
    all.push_back(needs);
  }
  if (all.empty()) return load_error(options.model_path);
  if (!options.projector_path.empty() && !kind->embeds) {
    const auto sight_bytes = LlamaSight::bytes_needed(sight_options(options));
    if (!sight_bytes && !options.projector_optional) return sight_bytes.error();
    for (EngineNeeds& needs : all) needs.sight_bytes = sight_bytes ? *sight_bytes : 0;
  }
  if (all.front().compute_bytes == 0) return Error{ErrorCode::unavailable, "this engine does not tell what it would allocate"};
  return all;
}

}  // namespace pensieve
