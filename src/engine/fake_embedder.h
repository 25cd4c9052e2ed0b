// An embedder that follows a script, as FakeEngine does, with the same vocabulary. A vector
// has 8 numbers that follow from the tokens; a step reads 16 of them. An input that has one
// of these words in it does something else:
//
//   !abort   dies by abort() in its first step
//   !hang    never returns from it
//   !fail    that step returns an error
//   !zero    its vector has no length
#pragma once

#include <chrono>

#include "engine/engine.h"

namespace pensieve {

struct FakeEmbedderOptions {
  std::int32_t slots = 2;
  std::int32_t context_tokens = 64;
  std::chrono::microseconds step_time{0};  // Every step takes this long.
};

class FakeEmbedder final : public Embedder {
 public:
  explicit FakeEmbedder(const FakeEmbedderOptions& options);

  const EngineFacts& facts() const override { return facts_; }
  const Vocabulary& vocabulary() const override { return *vocabulary_; }
  Result<std::int32_t> read(std::span<const TokenId> input, std::int32_t begin) override;
  std::span<const float> vector() const override { return vector_; }

  // Of an input with these tokens, before it is made one of length 1.
  static std::vector<float> vector_of(std::span<const TokenId> tokens);

 private:
  FakeEmbedderOptions options_;
  EngineFacts facts_;
  std::unique_ptr<Vocabulary> vocabulary_;
  std::vector<TokenId> held_;  // What was read of the input.
  std::vector<float> vector_;
};

}  // namespace pensieve
