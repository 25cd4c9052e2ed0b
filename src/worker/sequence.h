// One request while it runs in the worker: its slot, its place in prompt and
// answer, its sampler, what its tokens meant so far.
//
//   Threads  the engine thread.
//   Life     its slot is filled (restoring) -> its prompt is read (prefilling) ->
//            what a worker before this one had sampled is run again (refeeding) ->
//            it decodes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "worker/answer_reader.h"
#include "worker/thinking_budget.h"

namespace pensieve {

struct Sequence {
  Sequence(GenerateRequest from, SequenceId in_slot, std::unique_ptr<Sampler> with, const ChatTemplate& chat, const Vocabulary& vocabulary)
      : request(std::move(from)), slot(in_slot), sampler(std::move(with)), answer(chat, vocabulary, request), budget(chat, vocabulary, request) {}

  std::int32_t prompt_tokens() const { return static_cast<std::int32_t>(request.prompt.tokens.size()); }
  // The last token that was said is not run yet: it is `next`.
  std::int32_t refeed_end() const { return prompt_tokens() + std::max(0, static_cast<std::int32_t>(request.said.size()) - 1); }

  bool prefilling() const { return !restoring && position < prompt_tokens(); }
  bool refeeding() const { return !restoring && position >= prompt_tokens() && position < refeed_end(); }
  bool decoding() const { return !restoring && position >= refeed_end(); }
  bool runs() const { return !paused && !finished; }

  GenerateRequest request;
  SequenceId slot;
  std::unique_ptr<Sampler> sampler;
  AnswerReader answer;
  ThinkingBudget budget;
  bool restoring = false;
  std::int32_t cached_tokens = 0;   // Of the prompt, in place when it began.
  std::int32_t kept_tokens = 0;     // As Usage has them.
  std::int32_t position = 0;        // Tokens in the KV cache.
  TokenId next = 0;                 // Sampled, not yet run. Meaningful once it decodes.
  std::int32_t output_tokens = 0;
  std::vector<TokenId> sampled;     // The whole answer, what was replayed included.
  std::vector<std::uint64_t> logit_hashes;  // Where asked for: of each token sampled here.
  std::vector<TokenId> unreported;  // Sampled, what they say still held back.
  std::int32_t events_to_skip = 0;  // The next so many were reported by a worker before this one.
  bool replaying = false;           // What it takes in was said before: nothing is reported.
  std::int64_t prefill_us = 0;
  std::int64_t decode_us = 0;
  bool paused = false;
  bool finished = false;
};

}  // namespace pensieve
