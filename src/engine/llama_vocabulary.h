// A model's vocabulary, by the engine: text to tokens and back (engine.h).
#pragma once

#include <llama.h>

#include <memory>

#include "engine/engine.h"

namespace pensieve {

// `vocab` must outlive it.
std::unique_ptr<Vocabulary> make_llama_vocabulary(const llama_vocab* vocab);

}  // namespace pensieve
