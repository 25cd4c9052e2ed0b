// The pick of a token from its logits (engine.h, Sampler): libllama's filters, a draw of
// our own, and a grammar that may refuse.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/engine.h"
#include "engine/llama_grammar.h"

namespace pensieve {

// `vocabulary`: how many tokens there are. `grammar` may be null.
std::unique_ptr<Sampler> make_llama_sampler(const Sampling& sampling, std::int32_t vocabulary, std::unique_ptr<LlamaGrammar> grammar);

}  // namespace pensieve
