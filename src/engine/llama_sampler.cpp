#include "engine/llama_sampler.h"

#include <llama.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace pensieve {
namespace {

struct SamplerDeleter {
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};
using SamplerHandle = std::unique_ptr<llama_sampler, SamplerDeleter>;

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

}  // namespace

std::unique_ptr<Sampler> make_llama_sampler(const Sampling& sampling, std::int32_t vocabulary, std::unique_ptr<LlamaGrammar> grammar) {
  return std::make_unique<LlamaSampler>(sampling, vocabulary, std::move(grammar));
}

}  // namespace pensieve
