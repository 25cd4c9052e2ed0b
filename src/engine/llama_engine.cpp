// The real engine: libllama. Only the llama_* files include its headers.
//
// Settings that the exactness rules of docs/decisions/0002 need: one KV stream for each
// sequence, no repacked copy of the weights, and attention by our own kernels (llama_attention.h)
// or, where they do not suit, without flash attention.

#include <sys/stat.h>

#include <llama.h>

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>

#include "base/check.h"
#include "engine/attention/attention.h"
#include "base/log.h"
#include "core/picture_token.h"
#include "engine/llama_attention.h"
#include "engine/llama_engine.h"
#include "engine/llama_grammar.h"
#include "engine/llama_kv.h"
#include "engine/llama_positions.h"
#include "engine/llama_products.h"
#include "engine/llama_proof.h"
#include "engine/llama_rows.h"
#include "engine/llama_sampler.h"
#include "engine/llama_sight.h"
#include "engine/llama_state.h"
#include "engine/llama_vocabulary.h"

namespace pensieve {
namespace {

// Without --context: as many tokens as 1 GiB of KV cache holds over all slots.
constexpr std::uint64_t kKvBytesAuto = 1ull << 30;
constexpr std::int32_t kContextAutoMax = 32768;
constexpr std::int32_t kContextMin = 512;
constexpr std::int32_t kStepRowsMax = 512;
constexpr std::string_view kRowsAlone = ", rows alone";  // Behind the kernels' names.

// What looks at every node of the engine's graphs before it is computed.
struct GraphWatch {
  KvTensorWatch kv;
  LlamaAttention attention;
  LlamaProducts products;
  LlamaRows rows;

  static bool on_node(ggml_tensor* node, bool ask, void* self) {
    auto* watch = static_cast<GraphWatch*>(self);
    if (ask) {
      watch->kv.on_node(node);
      watch->attention.on_node(node);
      watch->products.on_node(node);
      watch->rows.on_node(node);
    }
    return false;  // The values of no node are wanted.
  }
};

class LlamaEngine final : public Engine {
 public:
  LlamaEngine(ModelHandle model, ContextHandle context, std::unique_ptr<GraphWatch> watch, EngineFacts facts, KvType kv_type)
      : model_(std::move(model)),
        watch_(std::move(watch)),
        context_(std::move(context)),
        facts_(std::move(facts)),
        vocabulary_(make_llama_vocabulary(llama_model_get_vocab(model_.get()))),
        batch_(llama_batch_init(kStepRowsMax + facts_.slots, 0, 1)),
        positions_(facts_.slots),
        kv_(LlamaKv::probe(context_.get(), model_.get(), watch_->kv, facts_.kernels)),
        states_(kv_ || !has_whole_states(model_.get()) ? Result<void>(Error{ErrorCode::unavailable, "not needed"}) : probe_llama_states(context_.get(), model_.get())),
        kv_type_(kv_type == KvType::f16 ? "f16" : "q8_0") {
    count_nodes(context_.get(), pulse_);
  }
  ~LlamaEngine() override { llama_batch_free(batch_); }

  Result<void> load_sight(const SightOptions& options) {
    auto loaded = LlamaSight::load(options, model_.get(), &pulse_);
    if (!loaded) return std::move(loaded).error();
    // A state that is put back whole does not say where its pictures stood.
    if ((*loaded)->in_several_dimensions() && !kv_) return Error{ErrorCode::unavailable, fmt::format("--mmproj: '{}': pictures take positions of several dimensions (M-RoPE), and this model's state cannot be cut", options.path)};
    sight_ = *std::move(loaded);
    return {};
  }
  LlamaEngine(const LlamaEngine&) = delete;
  LlamaEngine& operator=(const LlamaEngine&) = delete;

  const EngineFacts& facts() const override { return facts_; }
  const Vocabulary& vocabulary() const override { return *vocabulary_; }

  Result<void> step(std::span<const Row> rows) override {
    CHECK(!rows.empty() && rows.size() <= static_cast<std::size_t>(kStepRowsMax), "a step has 1 to step_rows_max rows");
    find_fill(rows);
    batch_.n_tokens = 0;
    in_batch_.clear();
    auto fill = fill_.begin();
    for (const Row& row : rows) {
      for (; fill != fill_.end() && fill->sequence < row.sequence; ++fill) add_to_batch(*fill);
      in_batch_.push_back(batch_.n_tokens);
      add_to_batch(row);
    }
    // 0: done. 1: no cells free, cache as before. 2: aborted. Below 0: failed, cache in doubt.
    const std::int32_t code = llama_decode(context_.get(), batch_);
    for (const Row& row : fill_) forget(row.sequence, row.position);
    if (code == 0) return {};
    if (code == 1) return Error{ErrorCode::overloaded, "the KV cache has no room for this step"};
    return Error{ErrorCode::internal, fmt::format("the engine failed a step (code {}): {}", code, engine_complaint())};
  }

  std::span<const float> logits(std::size_t row) const override {
    const float* values = llama_get_logits_ith(context_.get(), in_batch_[row]);
    CHECK(values != nullptr, "logits are read only of rows that asked for them");
    return {values, static_cast<std::size_t>(vocabulary_->size())};
  }

  void forget(SequenceId sequence, std::int32_t from_position) override {
    const std::int32_t from = positions_.cut(sequence, from_position);
    llama_memory_seq_rm(llama_get_memory(context_.get()), static_cast<llama_seq_id>(sequence), positions_.at(sequence, from), -1);
  }

  const Sight* sight() const override { return sight_.get(); }
  Result<void> see(SequenceId sequence, std::int32_t position, std::string_view image, std::int32_t part) override {
    CHECK(sight_, "only a model that sees is shown something");
    const auto seen = sight_->see(context_.get(), sequence, positions_.at(sequence, position), image, part);
    if (!seen) return seen.error();
    positions_.saw(sequence, {position, seen->rows, seen->positions});
    return {};
  }

  Result<std::unique_ptr<Sampler>> make_sampler(const Sampling& sampling, const Grammar* grammar) override {
    std::unique_ptr<LlamaGrammar> rules;
    if (grammar != nullptr) {
      if (!pieces_) pieces_ = std::make_unique<PieceIndex>(llama_model_get_vocab(model_.get()));
      auto made = LlamaGrammar::make(*grammar, *pieces_);
      if (!made) return std::move(made).error();
      rules = *std::move(made);
    }
    return make_llama_sampler(sampling, vocabulary_->size(), std::move(rules));
  }

  std::uint64_t pulse() const override { return pulse_.load(std::memory_order_relaxed); }
  const KvShape* kv_shape() const override { return kv_ ? &kv_->shape() : nullptr; }
  std::string kv_problem() const override {
    if (kv_ || states_) return {};
    return has_whole_states(model_.get()) ? fmt::format("{}; {}", kv_.error().message, states_.error().message) : kv_.error().message;
  }

  Result<void> claim_kv(SequenceId sequence, std::span<const TokenId> tokens) override {
    forget(sequence, 0);
    auto cells = cells_of(sequence, tokens);
    Result<void> claimed = cells ? kv_->claim(sequence, *cells) : Result<void>(std::move(cells).error());
    if (!claimed) forget(sequence, 0);
    return claimed;
  }
  void read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const override {
    kv_->read(sequence, piece, begin, count, out);
  }
  void write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) override {
    kv_->write(sequence, piece, begin, count, from, from_tokens);
  }
  std::span<std::byte> kv_cells(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count) override { return kv_->cells(sequence, piece, begin, count); }
  std::uint64_t give_back_kv(SequenceId sequence) override { return kv_ ? kv_->give_back(sequence) : 0; }

  std::string state_layout() const override { return states_ ? fmt::format("whole states;{};{}", facts_.kernels, kv_type_) : std::string(); }
  // The engine leaves out cells that a sliding window has passed: those that stay come to lie elsewhere, and attention
  // adds up by tiles of cells.
  std::int32_t state_grain() const override { return llama_model_n_swa(model_.get()) > 0 ? static_cast<std::int32_t>(kTileCells) : 1; }
  std::size_t state_bytes(SequenceId sequence) const override { return llama_state_bytes(context_.get(), sequence); }
  Result<void> save_state(SequenceId sequence, std::span<std::byte> out) const override { return save_llama_state(context_.get(), sequence, out); }
  Result<void> load_state(SequenceId sequence, std::span<const std::byte> state) override { return load_llama_state(context_.get(), sequence, state); }

 private:
  void add_to_batch(const Row& row) {
    const std::int32_t i = batch_.n_tokens++;
    batch_.token[i] = row.token;
    batch_.pos[i] = positions_.at(row.sequence, row.position);
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = static_cast<llama_seq_id>(row.sequence);
    batch_.logits[i] = row.wants_logits ? 1 : 0;
  }

  // Where these tokens' cells stand. Notes their pictures.
  Result<std::vector<LlamaKv::Cell>> cells_of(SequenceId sequence, std::span<const TokenId> tokens) {
    std::vector<LlamaKv::Cell> cells;
    cells.reserve(tokens.size());
    for (std::size_t i = 0; i < tokens.size();) {
      const auto index = static_cast<std::int32_t>(i);
      const std::int32_t position = positions_.at(sequence, index);
      const bool picture = is_picture(tokens[i]) && kv_->in_several_dimensions();
      if (!picture) {
        cells.push_back({position, position, position, tokens[i]});
        ++i;
        continue;
      }
      const auto grid = sight_ ? sight_->grid_of(tokens.subspan(i)) : std::nullopt;
      if (!grid) return Error{ErrorCode::unavailable, "a picture of this prompt was not looked at here"};
      for (std::int32_t row = 0; row < grid->rows; ++row) cells.push_back({position, position + row % grid->width, position + row / grid->width, LlamaKv::kNoToken});
      positions_.saw(sequence, {index, grid->rows, grid->positions});
      i += static_cast<std::size_t>(grid->rows);
    }
    if (cells.size() != tokens.size()) return Error{ErrorCode::internal, "a prompt ends in the midst of a picture"};
    return cells;
  }

  // The engine runs sequences in one pass only if their numbers follow each other; beyond a gap it reads all weights
  // again. So a sequence in a gap gets a row too, behind what it holds, that is forgotten after the step: where looking
  // at what it holds costs less than the weights.
  void find_fill(std::span<const Row> rows) {
    fill_.clear();
    if (!kv_) return;
    const std::uint64_t cell_bytes = facts_.kv_bytes / static_cast<std::uint64_t>(facts_.context_tokens) / static_cast<std::uint64_t>(facts_.slots);
    for (std::size_t i = 1; i < rows.size(); ++i) {
      const auto before = static_cast<llama_seq_id>(rows[i - 1].sequence), here = static_cast<llama_seq_id>(rows[i].sequence);
      if (here <= before) return fill_.clear();  // No decode step, sorted.
      std::uint64_t cells = 0;
      bool full = false;
      for (llama_seq_id gap = before + 1; gap < here; ++gap) {
        const std::int32_t held = positions_.end(SequenceId{gap}, llama_memory_seq_pos_max(llama_get_memory(context_.get()), gap));
        full = full || held >= facts_.context_tokens;
        cells += static_cast<std::uint64_t>(held);
        fill_.push_back({SequenceId{gap}, held, 0, false});
      }
      const auto together = std::ssize(rows) + std::ssize(fill_);
      if (full || cells * cell_bytes > facts_.file_bytes / 4 || (!facts_.rows_alone && together >= kManyRows)) fill_.resize(fill_.size() - static_cast<std::size_t>(here - before - 1));
    }
  }

  ModelHandle model_;
  std::unique_ptr<GraphWatch> watch_;  // The context calls it.
  ContextHandle context_;
  EngineFacts facts_;
  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<PieceIndex> pieces_;  // Made for the first grammar.
  llama_batch batch_;
  std::atomic<std::uint64_t> pulse_ = 0;
  LlamaPositions positions_;
  Result<LlamaKv> kv_;
  Result<void> states_;  // Good where there are whole states.
  const char* kv_type_;
  std::unique_ptr<LlamaSight> sight_;  // Null: it does not see.
  std::vector<Row> fill_;               // See find_fill().
  std::vector<std::int32_t> in_batch_;  // Where the rows of the step lie in it.
};

Sampling recommended_sampling(const llama_model* model) {
  Sampling sampling;
  const auto number = [&](llama_model_meta_key key) -> std::optional<float> {
    const char* name = llama_model_meta_key_str(key);
    const std::string text = name == nullptr ? std::string() : metadata(model, name);
    if (text.empty()) return std::nullopt;
    char* end = nullptr;
    const float value = std::strtof(text.c_str(), &end);
    return end == text.c_str() || !std::isfinite(value) ? std::nullopt : std::optional(value);
  };
  sampling.temperature = number(LLAMA_MODEL_META_KEY_SAMPLING_TEMP);
  if (const auto k = number(LLAMA_MODEL_META_KEY_SAMPLING_TOP_K)) sampling.top_k = static_cast<std::int32_t>(*k);
  sampling.top_p = number(LLAMA_MODEL_META_KEY_SAMPLING_TOP_P);
  sampling.min_p = number(LLAMA_MODEL_META_KEY_SAMPLING_MIN_P);
  sampling.repeat_penalty = number(LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT);
  return sampling;
}

// f16 keys and values of every layer.
std::uint64_t kv_bytes_per_token(const llama_model* model) {
  const auto heads = static_cast<std::uint64_t>(std::max(1, llama_model_n_head(model)));
  const auto kv_heads = static_cast<std::uint64_t>(std::max(1, llama_model_n_head_kv(model)));
  const auto width = static_cast<std::uint64_t>(llama_model_n_embd(model)) / heads * kv_heads;
  return width * 2 * 2 * static_cast<std::uint64_t>(llama_model_n_layer(model));
}

std::int32_t context_for(const EngineOptions& options, const llama_model* model) {
  const std::int32_t trained = std::max(kContextMin, llama_model_n_ctx_train(model));
  if (options.context_tokens > 0) return options.context_tokens;
  const std::uint64_t fit = kKvBytesAuto / (kv_bytes_per_token(model) * static_cast<std::uint64_t>(options.slots));
  const auto fitting = static_cast<std::int32_t>(std::min<std::uint64_t>(fit, kContextAutoMax));
  return std::clamp(std::min(fitting, trained) / 256 * 256, kContextMin, kContextAutoMax);
}

// What a file is, as long as nobody writes to it.
std::string state_of(const char* path) {
  struct stat about {};
  if (::stat(path, &about) != 0) return "?";
  const auto written = std::filesystem::last_write_time(path).time_since_epoch().count();
  return fmt::format("{}:{}:{}:{}", about.st_dev, about.st_ino, about.st_size, written);
}

// What a proof is for; the kernels that it is of follow. "": this process cannot be told from others.
std::string proof_head(const EngineOptions& options) {
#ifdef __linux__
  return fmt::format("{};{};{};", llama_version(), state_of("/proc/self/exe"), state_of(options.model_path.c_str()));
#else
  (void)options;
  return {};
#endif
}

Result<void> prove_attention(GraphWatch& watch, LlamaProof& proof) {
  if (Result<void> same = proof.same_logits([&](bool ours) { watch.attention.use(ours); }); !same) return same;
  Result<void> complete = watch.attention.complete();
  if (!complete) watch.attention.use(false);
  return complete;
}

}  // namespace

bool has_whole_states(const llama_model* model) { return llama_model_is_recurrent(model) || llama_model_is_hybrid(model) || llama_model_n_swa(model) > 0; }

bool attends_by_our_kernels(const llama_model_params& model_params, const llama_model* model) {
  return model_params.n_gpu_layers == 0 && LlamaAttention::suits(model);
}

llama_context_params engine_context_params(const EngineOptions& options, const llama_model* model, bool own_attention) {
  const std::int32_t context_tokens = context_for(options, model);
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(context_tokens) * static_cast<std::uint32_t>(options.slots);
  params.n_seq_max = static_cast<std::uint32_t>(options.slots);
  params.n_batch = static_cast<std::uint32_t>(kStepRowsMax);
  params.n_ubatch = static_cast<std::uint32_t>(kStepRowsMax);
  params.n_outputs_max = static_cast<std::uint32_t>(std::max(8, options.slots));
  params.n_threads = params.n_threads_batch = threads_of(options);
  params.kv_unified = false;
  if (options.kv_type == KvType::q8_0) params.type_k = params.type_v = GGML_TYPE_Q8_0;
  const bool flash = own_attention || options.kv_type == KvType::q8_0;  // The engine keeps quantised values with it alone.
  params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
  params.no_perf = true;
  return params;
}

SightOptions sight_options(const EngineOptions& options) {
  return {options.projector_path, threads_of(options), options.gpu_layers != 0 && has_gpu(), kStepRowsMax};
}

Result<std::unique_ptr<Engine>> make_llama_engine(ModelHandle model, const llama_model_params& model_params, const EngineOptions& options) {
  EngineNeeds taken;
  std::unique_ptr<GraphWatch> watch;
  const auto make_watched = [&](bool own_attention) {
    llama_context_params params = engine_context_params(options, model.get(), own_attention);
    watch = std::make_unique<GraphWatch>();
    params.cb_eval = GraphWatch::on_node;
    params.cb_eval_user_data = watch.get();
    return make_context(model.get(), params, taken);
  };
  EngineFacts facts = common_facts(model.get(), options);
  const bool own_attention = attends_by_our_kernels(model_params, model.get());
  ContextHandle context = make_watched(own_attention);
  LlamaProof proof(context.get(), model.get());
  const std::string head = proof_head(options);
  const bool proven_before = !head.empty() && options.proof.starts_with(head) && options.proof.size() > head.size();
  if (context && proven_before) {
    facts.kernels = options.proof.substr(head.size());
    const bool attends = own_attention && facts.kernels.find("attention ") != std::string::npos;
    if (own_attention && !attends) {
      context.reset();
      context = make_watched(false);
    }
    watch->attention.use(attends);  // Of the context that stays.
    watch->products.use(facts.kernels.find("products ") != std::string::npos);
    facts.rows_alone = facts.kernels.ends_with(kRowsAlone);
  } else if (context && own_attention) {
    if (const Result<void> proven = prove_attention(*watch, proof); proven) {
      facts.kernels = fmt::format("attention {}", watch->attention.kernel());
    } else {
      log::warn("attention stays the engine's own, which reads long prompts at about half the speed: {}", proven.error().message);
      context.reset();
      context = make_watched(false);
      proof = LlamaProof(context.get(), model.get());
    }
  }
  if (context && !proven_before && model_params.n_gpu_layers == 0) {
    watch->rows.begin();
    const Result<void> proven = proof.same_logits([&](bool ours) { watch->products.use(ours), watch->rows.begin(); });
    if (!proven) log::warn("products of weights stay the engine's own, which is slower: {}", proven.error().message);
    else if (watch->products.any()) facts.kernels += fmt::format("{}products {}", facts.kernels.empty() ? "" : ", ", watch->products.kernel());
    // What the graph promises, tried.
    facts.rows_alone = watch->rows.all_alone() && proof.same_bits_cut_elsewhere();
    if (facts.rows_alone) facts.kernels += kRowsAlone;
    else log::debug("the bits of a row depend on how many share its step: {}", watch->rows.other().empty() ? "tried" : watch->rows.other());
  }
  if (!context) return load_error(options.model_path);
  if (!head.empty() && !facts.kernels.empty()) facts.proof = head + facts.kernels;
  log::info("kernels: {}{}", facts.kernels.empty() ? "the engine's own" : facts.kernels, proven_before ? ", as a process before this one tried them" : "");

  facts.context_tokens = static_cast<std::int32_t>(llama_n_ctx_seq(context.get()));
  facts.step_rows_max = kStepRowsMax;
  facts.kv_bytes = taken.kv_bytes;
  facts.defaults = recommended_sampling(model.get());
  auto engine = std::make_unique<LlamaEngine>(std::move(model), std::move(context), std::move(watch), std::move(facts), options.kv_type);
  if (!options.projector_path.empty()) {
    Result<void> sees = engine->load_sight(sight_options(options));
    if (!sees && !options.projector_optional) return std::move(sees).error();
    if (!sees) log::warn("this model does not see: {}", sees.error().message);
  }
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace pensieve
