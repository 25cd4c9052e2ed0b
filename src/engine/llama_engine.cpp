// The real engine: libllama. Only the llama_* files include its headers.
//
// Settings that the exactness rules of docs/decisions/0002 need: one KV stream for each
// sequence, no repacked copy of the weights, and attention by our own kernels (llama_attention.h)
// or, where they do not suit, without flash attention.

#include <sys/stat.h>

#include <ggml-backend.h>
#include <llama.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cmath>
#include <filesystem>

#include "base/check.h"
#include "engine/attention/attention.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/llama_attention.h"
#include "engine/llama_grammar.h"
#include "engine/llama_kv.h"
#include "engine/llama_products.h"
#include "engine/llama_proof.h"
#include "engine/llama_rows.h"
#include "engine/llama_sight.h"
#include "engine/llama_state.h"
#include "platform/cores.h"

namespace pensieve {
namespace {

// Without --context: as many tokens as 1 GiB of KV cache holds over all slots.
constexpr std::uint64_t kKvBytesAuto = 1ull << 30;
constexpr std::int32_t kContextAutoMax = 32768;
constexpr std::int32_t kContextMin = 512;
constexpr std::int32_t kStepRowsMax = 512;
constexpr std::string_view kRowsAlone = ", rows alone";  // Behind the kernels' names.

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

struct ModelDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct ContextDeleter {
  void operator()(llama_context* context) const { llama_free(context); }
};
struct SamplerDeleter {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};
using ModelHandle = std::unique_ptr<llama_model, ModelDeleter>;
using ContextHandle = std::unique_ptr<llama_context, ContextDeleter>;
using SamplerHandle = std::unique_ptr<llama_sampler, SamplerDeleter>;

std::string metadata(const llama_model* model, const char* key) {
  std::array<char, 256> value{};
  const int length = llama_model_meta_val_str(model, key, value.data(), value.size());
  return length < 0 ? std::string() : std::string(value.data());
}

class LlamaVocabulary final : public Vocabulary {
 public:
  explicit LlamaVocabulary(const llama_vocab* vocab) : vocab_(vocab) {
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_SPM) find_word_edges();
  }

  Result<std::vector<TokenId>> tokenise(std::string_view text, bool add_begin) const override {
    std::vector<TokenId> tokens(text.size() + 8);
    const auto text_bytes = static_cast<std::int32_t>(text.size());
    std::int32_t count = llama_tokenize(vocab_, text.data(), text_bytes, tokens.data(), static_cast<std::int32_t>(tokens.size()), add_begin, true);
    if (count < 0) {
      tokens.resize(static_cast<std::size_t>(-static_cast<std::int64_t>(count)));
      count = llama_tokenize(vocab_, text.data(), text_bytes, tokens.data(), static_cast<std::int32_t>(tokens.size()), add_begin, true);
    }
    if (count < 0) return Error{ErrorCode::internal, "the prompt could not be split into tokens"};
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
  }

  std::string piece(TokenId token) const override { return text_of(token, false); }
  std::string control_text(TokenId token) const override { return token < 0 ? std::string() : text_of(token, true); }
  bool ends_turn(TokenId token) const override { return llama_vocab_is_eog(vocab_, token); }
  std::int32_t size() const override { return llama_vocab_n_tokens(vocab_); }
  TokenId begin_token() const override { return llama_vocab_bos(vocab_); }
  TokenId end_token() const override { return llama_vocab_eos(vocab_); }
  bool adds_begin() const override { return llama_vocab_get_add_bos(vocab_); }

  // libllama first splits a text at its special tokens, the longest of them first, then tokenises what lies between,
  // each piece for itself. So it may be cut in front of a special token, unless that one takes white space away
  // before it, or another one could reach over the cut.
  std::vector<std::string> cut_marks(std::string_view sample) const override {
    const auto type = llama_vocab_type(vocab_);
    if ((type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) || llama_vocab_get_add_eos(vocab_)) return {};
    std::vector<std::string> specials, marks;
    for (TokenId token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
      const auto attributes = static_cast<unsigned>(llama_vocab_get_attr(vocab_, token));
      std::string text = llama_vocab_get_text(vocab_, token);
      if (!is_special(attributes) || text.empty()) continue;
      const bool control = (attributes & LLAMA_TOKEN_ATTR_CONTROL) != 0 && (attributes & LLAMA_TOKEN_ATTR_LSTRIP) == 0;
      if (control && sample.find(text) != std::string_view::npos) marks.push_back(text);
      specials.push_back(std::move(text));
    }
    std::erase_if(marks, [&](std::string_view mark) { return std::ranges::any_of(specials, [mark](std::string_view special) { return may_reach_over(special, mark); }); });
    return marks;
  }

  bool cuts_at(std::string_view text, std::size_t at) const override {
    return spaces_apart_ && at > 0 && at + 1 < text.size() && text[at] == ' ' && word_ends_[static_cast<unsigned char>(text[at - 1])] && word_begins_[static_cast<unsigned char>(text[at + 1])];
  }
  // A vocabulary that sets a space before every text sets the one that `part` begins with.
  Result<std::vector<TokenId>> tokenise_behind(std::string_view part) const override { return tokenise(sets_space_ ? part.substr(1) : part, false); }

 private:
  static bool is_special(unsigned attributes) { return (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0; }

  // SentencePiece joins neighbours as long as what they make is a token. Where no token has a space behind a letter,
  // nothing is ever joined over the edge between a word that ends so and the space behind it, and either side comes
  // out the same alone. Special tokens are found in the text before that: no edge where one could begin or end.
  void find_word_edges() {
    constexpr std::string_view kSpace = "\xE2\x96\x81";
    for (unsigned c = '0'; c <= 'z'; ++c) word_ends_[c] = word_begins_[c] = std::isalnum(static_cast<int>(c)) != 0;
    for (TokenId token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
      const std::string_view text = llama_vocab_get_text(vocab_, token);
      if (text.empty()) continue;
      if (is_special(static_cast<unsigned>(llama_vocab_get_attr(vocab_, token)))) {
        word_ends_[static_cast<unsigned char>(text.back())] = word_begins_[static_cast<unsigned char>(text.front())] = false;
        if (text.find(' ') != std::string_view::npos) return;
      }
      for (std::size_t at = text.find(kSpace, 1); at != std::string_view::npos; at = text.find(kSpace, at + 1)) word_ends_[static_cast<unsigned char>(text[at - 1])] = false;
    }
    // How it treats the beginning of a text is not to be asked; it is seen.
    const auto alone = tokenise("a", false), spaced = tokenise(" a", false);
    if (!alone || !spaced) return;
    sets_space_ = alone->size() > 0 && *alone != *spaced && piece(alone->front()).starts_with(' ');
    spaces_apart_ = true;
  }

  // Whether `special` can stand so that it begins in front of a `mark` and ends behind where that begins.
  static bool may_reach_over(std::string_view special, std::string_view mark) {
    for (std::size_t at = 1; at < special.size(); ++at) {
      const std::size_t common = std::min(special.size() - at, mark.size());
      if (special.substr(at, common) == mark.substr(0, common)) return true;
    }
    return false;
  }

  std::string text_of(TokenId token, bool special) const {
    std::array<char, 128> buffer{};
    const std::int32_t length = llama_token_to_piece(vocab_, token, buffer.data(), buffer.size(), 0, special);
    if (length >= 0) return {buffer.data(), static_cast<std::size_t>(length)};
    std::string text(static_cast<std::size_t>(-length), '\0');
    llama_token_to_piece(vocab_, token, text.data(), -length, 0, special);
    return text;
  }

  const llama_vocab* vocab_;
  bool spaces_apart_ = false;  // Texts may be cut between words.
  bool sets_space_ = false;
  std::array<bool, 256> word_ends_{}, word_begins_{};
};

// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014)
// of seed and index: any draw can be made without those before it.
double uniform_draw(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1.0p-53;
}

// Under a grammar the second pick looks at no more than so many tokens: what lies beyond has no weight worth the time.
constexpr std::size_t kConstrainedMax = 256;

// Filters by libllama's samplers in its own usual order; the draw is ours.
class LlamaSampler final : public Sampler {
 public:
  LlamaSampler(const Sampling& sampling, std::int32_t vocabulary, std::unique_ptr<LlamaGrammar> grammar)
      : penalties_(llama_sampler_chain_init(llama_sampler_chain_default_params())),
        filters_(llama_sampler_chain_init(llama_sampler_chain_default_params())),
        grammar_(std::move(grammar)),
        seed_(sampling.seed.value_or(0)),
        greedy_(sampling.temperature.value_or(0) <= 0) {
    const float repeat = sampling.repeat_penalty.value_or(1);
    const float frequency = sampling.frequency_penalty.value_or(0);
    const float presence = sampling.presence_penalty.value_or(0);
    // 64 tokens back: libllama's own default.
    if (repeat != 1 || frequency != 0 || presence != 0) llama_sampler_chain_add(penalties_.get(), llama_sampler_init_penalties(vocabulary, 64, repeat, frequency, presence));
    if (greedy_) {
      constrained_ = 1;
      return;
    }
    const auto add = [&](llama_sampler* filter) { llama_sampler_chain_add(filters_.get(), filter); };
    if (const auto k = sampling.top_k.value_or(0); k > 0) {
      add(llama_sampler_init_top_k(k));
      constrained_ = std::min(constrained_, static_cast<std::size_t>(k));
    }
    if (const auto p = sampling.top_p.value_or(1); p < 1) add(llama_sampler_init_top_p(p, 1));
    if (const auto p = sampling.min_p.value_or(0); p > 0) add(llama_sampler_init_min_p(p, 1));
    add(llama_sampler_init_temp(*sampling.temperature));
  }

  TokenId sample(std::span<const float> logits) override {
    weigh(logits);
    const TokenId free = pick(uniform_draw(seed_, accepted_));
    if (!grammar_ || grammar_->allows(free)) return free;
    weigh(logits);
    grammar_->best_allowed(candidates_, constrained_);
    if (candidates_.empty()) return free;  // A dead end: accept() will see it and let go.
    // The second number of the same index: streams of one seed are 2^63 apart.
    return pick(uniform_draw(seed_, accepted_ + (1ull << 63)));
  }

  void accept(TokenId token) override {
    llama_sampler_accept(penalties_.get(), token);
    llama_sampler_accept(filters_.get(), token);
    if (grammar_) grammar_->accept(token);
    ++accepted_;
  }

 private:
  // All tokens with their logits, after the penalties.
  void weigh(std::span<const float> logits) {
    candidates_.resize(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) candidates_[i] = {static_cast<TokenId>(i), logits[i], 0};
    llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
    llama_sampler_apply(penalties_.get(), &array);
  }

  TokenId pick(double draw) {
    llama_token_data_array array{candidates_.data(), candidates_.size(), -1, false};
    llama_sampler_apply(filters_.get(), &array);
    const std::span<llama_token_data> left(array.data, array.size);
    CHECK(!left.empty(), "a filter keeps at least one token");
    const auto best = std::ranges::max_element(left, {}, &llama_token_data::logit);  // Ties: the first.
    if (greedy_) return best->id;
    double sum = 0;
    for (llama_token_data& candidate : left) {
      candidate.p = std::exp(candidate.logit - best->logit);
      sum += static_cast<double>(candidate.p);
    }
    double rest = draw * sum;
    for (const llama_token_data& candidate : left) {
      rest -= static_cast<double>(candidate.p);
      if (rest < 0) return candidate.id;
    }
    return best->id;
  }

  SamplerHandle penalties_;
  SamplerHandle filters_;
  std::unique_ptr<LlamaGrammar> grammar_;
  std::uint64_t seed_;
  bool greedy_;
  std::size_t constrained_ = kConstrainedMax;
  std::uint64_t accepted_ = 0;
  std::vector<llama_token_data> candidates_;
};

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

bool has_whole_states(const llama_model* model) { return llama_model_is_recurrent(model) || llama_model_is_hybrid(model) || llama_model_n_swa(model) > 0; }

class LlamaEngine final : public Engine {
 public:
  LlamaEngine(ModelHandle model, ContextHandle context, std::unique_ptr<GraphWatch> watch, EngineFacts facts, KvType kv_type)
      : model_(std::move(model)),
        watch_(std::move(watch)),
        context_(std::move(context)),
        facts_(std::move(facts)),
        vocabulary_(llama_model_get_vocab(model_.get())),
        batch_(llama_batch_init(kStepRowsMax + facts_.slots, 0, 1)),
        kv_(LlamaKv::probe(context_.get(), model_.get(), watch_->kv, facts_.kernels)),
        states_(kv_ || !has_whole_states(model_.get()) ? Result<void>(Error{ErrorCode::unavailable, "not needed"}) : probe_llama_states(context_.get(), model_.get())),
        kv_type_(kv_type == KvType::f16 ? "f16" : "q8_0") {
    // Processors call it for every node of the graph; false means: go on.
    llama_set_abort_callback(
        context_.get(),
        [](void* pulse) {
          static_cast<std::atomic<std::uint64_t>*>(pulse)->fetch_add(1, std::memory_order_relaxed);
          return false;
        },
        &pulse_);
  }
  ~LlamaEngine() override { llama_batch_free(batch_); }

  Result<void> load_sight(const SightOptions& options) {
    auto loaded = LlamaSight::load(options, model_.get(), &pulse_);
    if (!loaded) return std::move(loaded).error();
    sight_ = *std::move(loaded);
    return {};
  }
  LlamaEngine(const LlamaEngine&) = delete;
  LlamaEngine& operator=(const LlamaEngine&) = delete;

  const EngineFacts& facts() const override { return facts_; }
  const Vocabulary& vocabulary() const override { return vocabulary_; }

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
    return Error{ErrorCode::internal, fmt::format("the engine failed a step (code {}): {}", code, last_engine_error)};
  }

  std::span<const float> logits(std::size_t row) const override {
    const float* values = llama_get_logits_ith(context_.get(), in_batch_[row]);
    CHECK(values != nullptr, "logits are read only of rows that asked for them");
    return {values, static_cast<std::size_t>(vocabulary_.size())};
  }

  void forget(SequenceId sequence, std::int32_t from_position) override {
    llama_memory_seq_rm(llama_get_memory(context_.get()), static_cast<llama_seq_id>(sequence), from_position, -1);
  }

  const Sight* sight() const override { return sight_.get(); }
  Result<void> see(SequenceId sequence, std::int32_t position, std::string_view image, std::int32_t part) override {
    CHECK(sight_, "only a model that sees is shown something");
    return sight_->see(context_.get(), sequence, position, image, part);
  }

  Result<std::unique_ptr<Sampler>> make_sampler(const Sampling& sampling, const Grammar* grammar) override {
    std::unique_ptr<LlamaGrammar> rules;
    if (grammar != nullptr) {
      if (!pieces_) pieces_ = std::make_unique<PieceIndex>(llama_model_get_vocab(model_.get()));
      auto made = LlamaGrammar::make(*grammar, *pieces_);
      if (!made) return std::move(made).error();
      rules = *std::move(made);
    }
    return std::unique_ptr<Sampler>(std::make_unique<LlamaSampler>(sampling, vocabulary_.size(), std::move(rules)));
  }

  std::uint64_t pulse() const override { return pulse_.load(std::memory_order_relaxed); }
  const KvShape* kv_shape() const override { return kv_ ? &kv_->shape() : nullptr; }
  std::string kv_problem() const override {
    if (kv_ || states_) return {};
    return has_whole_states(model_.get()) ? fmt::format("{}; {}", kv_.error().message, states_.error().message) : kv_.error().message;
  }

  Result<void> claim_kv(SequenceId sequence, std::int32_t tokens) override {
    forget(sequence, 0);
    Result<void> claimed = kv_->claim(sequence, tokens);
    if (!claimed) forget(sequence, 0);
    return claimed;
  }
  void read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const override {
    kv_->read(sequence, piece, begin, count, out);
  }
  void write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) override {
    kv_->write(sequence, piece, begin, count, from, from_tokens);
  }
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
    batch_.pos[i] = row.position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = static_cast<llama_seq_id>(row.sequence);
    batch_.logits[i] = row.wants_logits ? 1 : 0;
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
        const llama_pos held = llama_memory_seq_pos_max(llama_get_memory(context_.get()), gap) + 1;
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
  LlamaVocabulary vocabulary_;
  std::unique_ptr<PieceIndex> pieces_;  // Made for the first grammar.
  llama_batch batch_;
  std::atomic<std::uint64_t> pulse_ = 0;
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

std::string device_names() {
  std::string names;
  for (std::size_t i = 0; i < ggml_backend_dev_count(); ++i) {
    ggml_backend_dev_t device = ggml_backend_dev_get(i);
    if (!names.empty()) names += ", ";
    names += fmt::format("{} ({})", ggml_backend_dev_name(device), ggml_backend_dev_description(device));
  }
  return names;
}

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

// Where the engine computes on processors alone, and the model's attention suits one of our kernels.
bool attends_itself(const llama_model_params& model_params, const llama_model* model) {
  return model_params.n_gpu_layers == 0 && LlamaAttention::suits(model);
}

std::int32_t threads_of(const EngineOptions& options) { return options.threads > 0 ? options.threads : compute_threads(); }

llama_context_params context_params_for(const EngineOptions& options, const llama_model* model, bool own_attention) {
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

void on_llama_abort(void (*callback)(bool, const char*)) {
  abort_callback = callback;
  ggml_set_abort_callback([](const char* message) { abort_callback(memory_was_short, message); });
}

std::string llama_engine_version() { return llama_version(); }

Result<std::unique_ptr<Engine>> load_llama_engine(const EngineOptions& options, const std::function<void(double)>& on_progress) {
  std::error_code status;
  const auto file_bytes = std::filesystem::file_size(options.model_path, status);
  if (status) return Error{ErrorCode::not_found, fmt::format("--model: '{}' cannot be read: {}", options.model_path, status.message())};

  if (const Result<void> started = start_backends(); !started) return started.error();
  llama_model_params model_params = model_params_for(options);
  model_params.progress_callback = [](float progress, void* user) {
    (*static_cast<const std::function<void(double)>*>(user))(static_cast<double>(progress));
    return true;
  };
  model_params.progress_callback_user_data = const_cast<std::function<void(double)>*>(&on_progress);
  ModelHandle model(llama_model_load_from_file(options.model_path.c_str(), model_params));
  if (!model) return load_error(options.model_path);

  EngineNeeds taken;
  std::unique_ptr<GraphWatch> watch;
  const auto make_context = [&](bool own_attention) {
    llama_context_params params = context_params_for(options, model.get(), own_attention);
    watch = std::make_unique<GraphWatch>();
    params.cb_eval = GraphWatch::on_node;
    params.cb_eval_user_data = watch.get();
    taken = {};
    needs_to_fill = &taken;
    ContextHandle made(llama_init_from_model(model.get(), params));
    needs_to_fill = nullptr;
    return made;
  };
  EngineFacts facts;
  const bool own_attention = attends_itself(model_params, model.get());
  ContextHandle context = make_context(own_attention);
  LlamaProof proof(context.get(), model.get());
  const std::string head = proof_head(options);
  const bool proven_before = !head.empty() && options.proof.starts_with(head) && options.proof.size() > head.size();
  if (context && proven_before) {
    facts.kernels = options.proof.substr(head.size());
    const bool attends = own_attention && facts.kernels.find("attention ") != std::string::npos;
    if (own_attention && !attends) {
      context.reset();
      context = make_context(false);
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
      context = make_context(false);
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

  facts.name = metadata(model.get(), "general.name");
  if (facts.name.empty()) facts.name = std::filesystem::path(options.model_path).stem().string();
  facts.architecture = metadata(model.get(), "general.architecture");
  if (const char* source = llama_model_chat_template(model.get(), nullptr)) facts.chat_template = source;
  facts.backends = device_names();
  facts.parameters = llama_model_n_params(model.get());
  facts.file_bytes = file_bytes;
  facts.context_trained = llama_model_n_ctx_train(model.get());
  facts.context_tokens = static_cast<std::int32_t>(llama_n_ctx_seq(context.get()));
  facts.slots = options.slots;
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

Result<std::vector<EngineNeeds>> plan_llama_engine(const EngineOptions& options, std::span<const EngineVariant> variants) {
  if (const Result<void> started = start_backends(); !started) return started.error();
  llama_model_params model_params = model_params_for(options);
  model_params.no_alloc = true;
  model_params.load_mode = LLAMA_LOAD_MODE_NONE;
  const ModelHandle model(llama_model_load_from_file(options.model_path.c_str(), model_params));
  if (!model) return load_error(options.model_path);
  std::vector<EngineNeeds> all;
  for (const EngineVariant& variant : variants) {
    EngineOptions with = options;
    with.kv_type = variant.kv_type;
    with.context_tokens = variant.context_tokens;
    EngineNeeds needs;
    needs_to_fill = &needs;
    const llama_context_params params = context_params_for(with, model.get(), attends_itself(model_params, model.get()));
    const ContextHandle context(llama_init_from_model(model.get(), params));
    needs_to_fill = nullptr;
    if (!context) continue;  // Not every model takes every KV type.
    needs.kv_type = variant.kv_type;
    needs.attention_matrix = params.flash_attn_type == LLAMA_FLASH_ATTN_TYPE_DISABLED;
    needs.whole_states = has_whole_states(model.get());
    needs.context_tokens = static_cast<std::int32_t>(llama_n_ctx_seq(context.get()));
    needs.context_trained = llama_model_n_ctx_train(model.get());
    needs.heads = llama_model_n_head(model.get());
    needs.embedding = llama_model_n_embd(model.get());
    needs.vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model.get()));
    all.push_back(needs);
  }
  if (all.empty()) return load_error(options.model_path);
  if (!options.projector_path.empty()) {
    const auto sight_bytes = LlamaSight::bytes_needed(sight_options(options));
    if (!sight_bytes && !options.projector_optional) return sight_bytes.error();
    for (EngineNeeds& needs : all) needs.sight_bytes = sight_bytes ? *sight_bytes : 0;
  }
  if (all.front().compute_bytes == 0) return Error{ErrorCode::unavailable, "this engine does not tell what it would allocate"};
  return all;
}

}  // namespace pensieve
