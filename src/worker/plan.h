// What the next step holds: pure decisions, everything comes in as arguments.
//
// The rules make a greedy answer the same token for token, alone or beside
// others, whatever the chunk size (docs/decisions/0002 has the measurements):
//   * prefill and decode rows never share a step;
//   * a prefill chunk has at least 8 rows, unless the whole prompt has fewer: the
//     engine computes fewer than 8 rows with another kernel;
//   * a decode step has at most 7 rows: that other kernel, always.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>

#include "core/request.h"

namespace pensieve {

inline constexpr std::int32_t kDecodeRowsMax = 7;
inline constexpr std::int32_t kPrefillRowsMin = 8;
inline constexpr std::int32_t kPrefillChunkMin = 16;

// Where the chunk that begins at `position` of a prompt ends. Cuts lie at
// multiples of `chunk` (a power of two, at least kPrefillChunkMin), save the first, which lies half
// a chunk further when it would leave fewer than 8 tokens before it, and the last
// one, which moves 8 tokens ahead when fewer than 8 would be left behind it.
std::int32_t prefill_chunk_end(std::int32_t position, std::int32_t prompt_tokens, std::int32_t chunk);

// ---- pictures (core/picture_token.h): each is run in a step of its own, whole; the text between two is a segment ----

// Where the text that `position` lies in ends: at the next picture, or the end.
std::int32_t segment_end(std::span<const TokenId> prompt, std::int32_t position);

// The longest beginning of `prompt`, at most `length` tokens, from which it can be gone on with: not in the midst of a
// picture, and with `rows_min` rows left of the segment unless all of it is left, so that it is run by the same
// kernel as if nothing had been there.
std::int32_t resume_at(std::span<const TokenId> prompt, std::int32_t length, std::int32_t rows_min);

// How many of the first `blocks` blocks of `block_tokens` may be named by their ids: one that ends with fewer than
// kPictureRowsMin rows of a longer picture would be named by too little of it, and those behind it hang on it.
std::int32_t nameable_blocks(std::span<const TokenId> tokens, std::int32_t blocks, std::int32_t block_tokens);

// The largest chunk that keeps one prefill step within `budget` at the measured
// rate (tokens a second; 0: not measured yet), from kPrefillChunkMin to rows_max.
// While nobody is decoding there is nothing to delay: rows_max.
std::int32_t prefill_chunk(double tokens_per_second, std::chrono::duration<double> budget, std::int32_t rows_max, bool someone_decodes);

}  // namespace pensieve
