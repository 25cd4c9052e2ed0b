#include "engine/llama_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace pensieve {
namespace {

constexpr std::int32_t kMany = 12;  // A step of many rows, then one of one.

bool step(llama_context* context, llama_batch& batch, std::int32_t vocabulary, std::int32_t begin, std::int32_t count) {
  batch.n_tokens = count;
  for (std::int32_t i = 0; i < count; ++i) {
    batch.token[i] = static_cast<llama_token>((std::int64_t{begin + i} * 7919 + 1) % vocabulary);
    batch.pos[i] = begin + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = i + 1 == count ? 1 : 0;
  }
  return llama_decode(context, batch) == 0;
}

// The logits of both steps; empty: the engine failed one.
std::vector<float> logits_of(llama_context* context, std::int32_t vocabulary) {
  llama_batch batch = llama_batch_init(kMany, 0, 1);
  std::vector<float> logits;
  for (const auto& [begin, count] : {std::pair{0, kMany}, std::pair{kMany, 1}}) {
    if (!step(context, batch, vocabulary, begin, count)) {
      logits.clear();
      break;
    }
    const float* last = llama_get_logits_ith(context, -1);
    logits.insert(logits.end(), last, last + vocabulary);
  }
  llama_batch_free(batch);
  llama_memory_seq_rm(llama_get_memory(context), 0, -1, -1);
  return logits;
}

}  // namespace

Result<void> prove_same_logits(llama_context* context, const llama_model* model, const std::function<void(bool)>& use) {
  const std::int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  use(false);
  const std::vector<float> engines = logits_of(context, vocabulary);
  use(true);
  const std::vector<float> ours = logits_of(context, vocabulary);
  const auto fail = [&](std::string why) -> Result<void> {
    use(false);
    return Error{ErrorCode::unavailable, std::move(why)};
  };
  if (engines.empty() || ours.empty()) return fail("the engine failed its first steps");
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (!std::isfinite(ours[i])) return fail("logits that are no numbers");
    largest = std::max(largest, std::abs(engines[i]));
    difference = std::max(difference, std::abs(engines[i] - ours[i]));
  }
  // The engine rounds queries and sums to half precision, and activations to 8 bits after that: what differs here is
  // not ours alone.
  constexpr float kShareAllowed = 0.05f;
  if (difference > kShareAllowed * largest) return fail(fmt::format("logits differ by {} of {}", difference, largest));
  return {};
}

}  // namespace pensieve
