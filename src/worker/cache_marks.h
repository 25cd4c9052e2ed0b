// Where in a prompt's tokens the blocks and tools end that its client marked as worth keeping
// (cache_control). For engines whose state cannot be cut: it must be kept just there.
//
// A template does not tell where a block went, so the prompt is read once more for each mark, with
// something put behind what is marked: the mark lies where the tokens begin to differ. So it lies
// where another continuation cannot change the tokens before it.
//
//   Threads  the wire thread.
//   Errors   a mark that cannot be found is left out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/prompt_reader.h"

namespace pensieve {

inline constexpr std::size_t kCacheMarksMax = 4;  // As the API has it; the last ones count.

// Rising; `tokens` are those of `prompt`. The end of the prompt is not among them: it needs no mark.
std::vector<std::int32_t> cache_marks(PromptReader& reader, const Prompt& prompt, std::span<const TokenId> tokens);

}  // namespace pensieve
