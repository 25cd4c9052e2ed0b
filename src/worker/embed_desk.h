// Inputs become tokens, for a model that makes embeddings. What would make it generate is
// refused.
//
//   Threads  the wire thread.
//   Errors   invalid_argument, beginning with the input's place ("input.3: ...").
#pragma once

#include "engine/engine.h"
#include "worker/wire_thread.h"

namespace pensieve {

class EmbedDesk final : public Desk {
 public:
  explicit EmbedDesk(const Embedder& embedder) : embedder_(embedder) {}

  Result<wire::Counted> count(const wire::Count& count) override;
  Result<void> prepare(wire::Generate& generate) override;
  Result<void> prepare(wire::Embed& embed) override;

 private:
  Result<EmbedInput> as_tokens(const EmbedInput& input, std::size_t index) const;

  const Embedder& embedder_;
};

}  // namespace pensieve
