#include "worker/plan.h"

#include <algorithm>

#include "core/picture_token.h"

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

std::int32_t segment_end(std::span<const TokenId> prompt, std::int32_t position) {
  const auto rest = prompt.subspan(static_cast<std::size_t>(position));
  return position + static_cast<std::int32_t>(std::ranges::find_if(rest, is_picture) - rest.begin());
}

std::int32_t resume_at(std::span<const TokenId> prompt, std::int32_t length, std::int32_t rows_min) {
  const auto token = [&](std::int32_t at) { return prompt[static_cast<std::size_t>(at)]; };
  const auto size = static_cast<std::int32_t>(prompt.size());
  if (length >= size) return length;
  while (length > 0 && is_picture(token(length)) && !begins_picture(token(length))) --length;
  if (length == 0 || is_picture(token(length))) return length;
  const std::int32_t end = segment_end(prompt, length);
  if (end - length >= rows_min) return length;
  std::int32_t begin = length;
  while (begin > 0 && begin > end - rows_min && !is_picture(token(begin - 1))) --begin;
  return begin;
}

std::int32_t nameable_blocks(std::span<const TokenId> tokens, std::int32_t blocks, std::int32_t block_tokens) {
  for (std::int32_t block = 0; block < blocks; ++block) {
    const auto end = static_cast<std::size_t>(block + 1) * static_cast<std::size_t>(block_tokens);
    if (end >= tokens.size() || !is_picture(tokens[end]) || begins_picture(tokens[end])) continue;
    // It goes on behind this block: how much of it lies inside?
    std::size_t begin = end;
    while (begin > 0 && !begins_picture(tokens[begin])) --begin;
    if (end - begin < static_cast<std::size_t>(kPictureRowsMin)) return block;
  }
  return blocks;
}

std::int32_t prefill_chunk(double tokens_per_second, std::chrono::duration<double> budget, std::int32_t rows_max, bool someone_decodes) {
  if (!someone_decodes) return rows_max;
  std::int32_t chunk = kPrefillChunkMin;
  while (chunk * 2 <= rows_max && chunk * 2 <= tokens_per_second * budget.count()) chunk *= 2;
  return chunk;
}

}  // namespace pensieve
