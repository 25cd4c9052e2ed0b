#include "engine/llama_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

namespace pensieve {
namespace {

// Where steps end. The logits behind the 12th and the 13th token are looked at.
constexpr std::array kCuts = {12, 13};  // A step of many rows, then one of one.
constexpr std::array kOtherCuts = {1, 6, 12, 13};
constexpr std::int32_t kTokens = 13;
// Where experts are chosen, the smallest difference may choose another one, and the logits then differ by much. A
// kernel that is wrong is so with any tokens.
constexpr int kTries = 8;

bool step(llama_context* context, llama_batch& batch, std::int32_t vocabulary, std::int32_t begin, std::int32_t count, int tried) {
  batch.n_tokens = count;
  for (std::int32_t i = 0; i < count; ++i) {
    batch.token[i] = static_cast<llama_token>((std::int64_t{begin + i} * 7919 + 1 + std::int64_t{tried} * 104729) % vocabulary);
    batch.pos[i] = begin + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = i + 1 == count ? 1 : 0;
  }
  return llama_decode(context, batch) == 0;
}

// The logits; empty: the engine failed a step.
std::vector<float> logits_of(llama_context* context, const llama_model* model, std::span<const int> cuts, int tried = 0) {
  const std::int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  llama_batch batch = llama_batch_init(kTokens, 0, 1);
  std::vector<float> logits;
  std::int32_t begin = 0;
  for (const int end : cuts) {
    if (!step(context, batch, vocabulary, begin, end - begin, tried)) {
      logits.clear();
      break;
    }
    begin = end;
    if (end < kTokens - 1) continue;
    const float* last = llama_get_logits_ith(context, -1);
    logits.insert(logits.end(), last, last + vocabulary);
  }
  llama_batch_free(batch);
  llama_memory_seq_rm(llama_get_memory(context), 0, -1, -1);
  return logits;
}

// Empty: alike enough. Else why not.
std::string difference_of(std::span<const float> theirs, std::span<const float> ours) {
  if (theirs.empty() || ours.empty()) return "the engine failed its first steps";
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (!std::isfinite(ours[i])) return "logits that are no numbers";
    largest = std::max(largest, std::abs(theirs[i]));
    difference = std::max(difference, std::abs(theirs[i] - ours[i]));
  }
  // The engine rounds queries and sums to half precision, and activations to 8 bits after that: what differs here is
  // not ours alone.
  constexpr float kShareAllowed = 0.05f;
  return difference > kShareAllowed * largest ? fmt::format("logits differ by {} of {}", difference, largest) : "";
}

}  // namespace

Result<void> LlamaProof::same_logits(const std::function<void(bool)>& use) {
  if (now_.empty()) now_ = logits_of(context_, model_, kCuts);
  use(true);
  std::vector<float> ours = logits_of(context_, model_, kCuts);
  std::string differs = difference_of(now_, ours);
  for (int tried = 1; !differs.empty() && tried < kTries; ++tried) {
    use(false);
    const std::vector<float> theirs = logits_of(context_, model_, kCuts, tried);
    use(true);
    differs = difference_of(theirs, logits_of(context_, model_, kCuts, tried));
  }
  if (!differs.empty()) {
    use(false);
    return Error{ErrorCode::unavailable, std::move(differs)};
  }
  now_ = std::move(ours);
  return {};
}

bool LlamaProof::same_bits_cut_elsewhere() {
  if (now_.empty()) now_ = logits_of(context_, model_, kCuts);
  return !now_.empty() && logits_of(context_, model_, kOtherCuts) == now_;
}

}  // namespace pensieve
