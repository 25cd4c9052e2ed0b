#include "worker/plan.h"

#include <algorithm>

namespace pensieve {

std::int32_t prefill_chunk_end(std::int32_t position, std::int32_t prompt_tokens, std::int32_t chunk) {
  std::int32_t cut = (position / chunk + 1) * chunk;
  if (cut - position < kPrefillRowsMin) cut += chunk / 2;  // It begins shortly before a multiple.
  if (cut >= prompt_tokens) return prompt_tokens;
  const std::int32_t left = prompt_tokens - cut;
  if (left >= kPrefillRowsMin) return cut;
  // Too few would be left. Take them along if the step may be that long, else cut earlier.
  const std::int32_t earlier = cut - kPrefillRowsMin;
  return earlier - position >= kPrefillRowsMin ? earlier : prompt_tokens;
}

std::int32_t prefill_chunk(double tokens_per_second, std::chrono::duration<double> budget, std::int32_t rows_max, bool someone_decodes) {
  if (!someone_decodes) return rows_max;
  std::int32_t chunk = kPrefillChunkMin;
  while (chunk * 2 <= rows_max && chunk * 2 <= tokens_per_second * budget.count()) chunk *= 2;
  return chunk;
}

}  // namespace pensieve
