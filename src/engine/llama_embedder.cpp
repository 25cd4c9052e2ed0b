#include "engine/llama_embedder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "base/log.h"
#include "engine/llama_vocabulary.h"

namespace pensieve {
namespace {

constexpr std::int32_t kContextAutoMax = 8192;  // Without --context. Where an input is one step, its buffers grow with it.
constexpr std::int32_t kStepRowsMax = 512;      // Where it need not be.

const char* name_of(enum llama_pooling_type pooling) {
  switch (pooling) {
    case LLAMA_POOLING_TYPE_MEAN: return "mean";
    case LLAMA_POOLING_TYPE_CLS: return "cls";
    case LLAMA_POOLING_TYPE_LAST: return "last";
    default: return "";
  }
}

class LlamaEmbedder final : public Embedder {
 public:
  LlamaEmbedder(ModelHandle model, ContextHandle context, EngineFacts facts)
      : model_(std::move(model)),
        context_(std::move(context)),
        facts_(std::move(facts)),
        vocabulary_(make_llama_vocabulary(llama_model_get_vocab(model_.get()))),
        batch_(llama_batch_init(facts_.step_rows_max, 0, 1)) {
    count_nodes(context_.get(), pulse_);
  }
  ~LlamaEmbedder() override { llama_batch_free(batch_); }
  LlamaEmbedder(const LlamaEmbedder&) = delete;
  LlamaEmbedder& operator=(const LlamaEmbedder&) = delete;

  const EngineFacts& facts() const override { return facts_; }
  const Vocabulary& vocabulary() const override { return *vocabulary_; }
  std::uint64_t pulse() const override { return pulse_.load(std::memory_order_relaxed); }

  Result<std::int32_t> read(std::span<const TokenId> input, std::int32_t begin) override {
    const auto tokens = static_cast<std::int32_t>(input.size());
    CHECK(begin < tokens && tokens <= facts_.context_tokens, "an input has 1 to context_tokens tokens");
    llama_memory_t memory = llama_get_memory(context_.get());
    if (begin == 0 && memory != nullptr) llama_memory_seq_rm(memory, 0, -1, -1);
    const std::int32_t end = std::min(tokens, begin + facts_.step_rows_max);
    batch_.n_tokens = end - begin;
    for (std::int32_t i = 0; i < batch_.n_tokens; ++i) {
      batch_.token[i] = input[static_cast<std::size_t>(begin + i)];
      batch_.pos[i] = begin + i;
      batch_.n_seq_id[i] = 1;
      batch_.seq_id[i][0] = 0;
      batch_.logits[i] = 1;  // Rows that are pooled.
    }
    // Without a memory it is an encoder.
    const std::int32_t code = memory != nullptr ? llama_decode(context_.get(), batch_) : llama_encode(context_.get(), batch_);
    if (code == 1) return Error{ErrorCode::overloaded, "the KV cache has no room for this input"};
    if (code != 0) return Error{ErrorCode::internal, fmt::format("the engine failed a step (code {}): {}", code, engine_complaint())};
    return end;
  }

  std::span<const float> vector() const override {
    const float* values = llama_get_embeddings_seq(context_.get(), 0);
    CHECK(values != nullptr, "a context that pools has a vector after an input");
    return {values, static_cast<std::size_t>(facts_.vector_size)};
  }

 private:
  ModelHandle model_;
  ContextHandle context_;
  EngineFacts facts_;
  std::unique_ptr<Vocabulary> vocabulary_;
  llama_batch batch_;
  std::atomic<std::uint64_t> pulse_ = 0;
};

}  // namespace

Result<EmbedderKind> embedder_kind(const llama_model* model) {
  const std::string architecture = metadata(model, "general.architecture");
  const auto stated = [&](const char* key) { return metadata(model, fmt::format("{}.{}", architecture, key).c_str()); };
  const std::string pooling = stated("pooling_type");
  const bool looks_ahead = stated("attention.causal") == "false" && !llama_model_is_diffusion(model);
  const bool encodes = llama_model_has_encoder(model) && !llama_model_has_decoder(model);
  EmbedderKind kind;
  if (pooling == std::to_string(LLAMA_POOLING_TYPE_RANK)) return Error{ErrorCode::unavailable, "--model: this one ranks documents (pooling_type rank), which is not possible here"};
  if (pooling == std::to_string(LLAMA_POOLING_TYPE_MEAN)) kind.pooling = LLAMA_POOLING_TYPE_MEAN;
  else if (pooling == std::to_string(LLAMA_POOLING_TYPE_CLS)) kind.pooling = LLAMA_POOLING_TYPE_CLS;
  else if (pooling == std::to_string(LLAMA_POOLING_TYPE_LAST)) kind.pooling = LLAMA_POOLING_TYPE_LAST;
  else if (looks_ahead || encodes) kind.pooling = LLAMA_POOLING_TYPE_MEAN;  // Encoders that do not say are pooled so as a rule.
  kind.embeds = kind.pooling != LLAMA_POOLING_TYPE_NONE;
  kind.whole = looks_ahead || encodes || kind.pooling != LLAMA_POOLING_TYPE_LAST;
  return kind;
}

// Never beyond what it was trained for: some have a table of positions, and nothing behind its end.
std::int32_t embedder_context_tokens(const EngineOptions& options, const llama_model* model) {
  const std::int32_t trained = std::max(1, llama_model_n_ctx_train(model));
  return std::min(options.context_tokens > 0 ? options.context_tokens : kContextAutoMax, trained);
}

llama_context_params embedder_context_params(const EngineOptions& options, const llama_model* model, const EmbedderKind& kind) {
  const auto context_tokens = static_cast<std::uint32_t>(embedder_context_tokens(options, model));
  llama_context_params params = llama_context_default_params();
  params.n_ctx = context_tokens;
  params.n_seq_max = 1;
  params.n_batch = params.n_ubatch = kind.whole ? context_tokens : std::min(context_tokens, static_cast<std::uint32_t>(kStepRowsMax));
  params.n_threads = params.n_threads_batch = threads_of(options);
  params.pooling_type = kind.pooling;
  params.embeddings = true;
  // On processors always: without it attention's weights take the square of an input in memory.
  params.flash_attn_type = options.gpu_layers != 0 && has_gpu() ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_ENABLED;
  params.no_perf = true;
  return params;
}

Result<std::unique_ptr<Embedder>> make_llama_embedder(ModelHandle model, const EngineOptions& options, const EmbedderKind& kind) {
  const llama_context_params params = embedder_context_params(options, model.get(), kind);
  EngineNeeds taken;
  ContextHandle context = make_context(model.get(), params, taken);
  if (!context) return load_error(options.model_path);
  EngineFacts facts = common_facts(model.get(), options);
  facts.context_tokens = embedder_context_tokens(options, model.get());
  facts.step_rows_max = static_cast<std::int32_t>(params.n_ubatch);
  facts.kv_bytes = taken.kv_bytes;
  facts.rows_alone = true;  // An input has every step for itself.
  facts.vector_size = llama_model_n_embd_out(model.get());
  facts.pooling = name_of(kind.pooling);
  log::info("makes embeddings of {} numbers, pooling {}", facts.vector_size, facts.pooling);
  return std::unique_ptr<Embedder>(std::make_unique<LlamaEmbedder>(std::move(model), std::move(context), std::move(facts)));
}

}  // namespace pensieve
