#include "worker/token_memory.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

// Counts what it is asked for.
class CountingVocabulary final : public Vocabulary {
 public:
  Result<std::vector<TokenId>> tokenise(std::string_view text, bool add_begin) const override {
    bytes += text.size();
    return real.tokenise(text, add_begin);
  }
  std::string piece(TokenId token) const override { return real.piece(token); }
  std::string control_text(TokenId token) const override { return real.control_text(token); }
  bool ends_turn(TokenId token) const override { return real.ends_turn(token); }
  std::int32_t size() const override { return real.size(); }
  TokenId begin_token() const override { return real.begin_token(); }
  TokenId end_token() const override { return real.end_token(); }
  bool adds_begin() const override { return real.adds_begin(); }
  std::vector<std::string> cut_marks(std::string_view sample) const override { return cuts ? real.cut_marks(sample) : std::vector<std::string>(); }

  const FakeEngine engine{{}};
  const Vocabulary& real = engine.vocabulary();
  bool cuts = true;
  mutable std::size_t bytes = 0;
};

constexpr std::string_view kSample = "<|system|>s<|end|><|user|>u<|end|><|assistant|>";

std::string turn(char letter, std::size_t size) { return "<|user|>" + std::string(size, letter) + "<|end|>"; }

std::vector<TokenId> tokens_of(TokenMemory& memory, std::string_view text, bool add_begin = true) {
  std::vector<TokenId> tokens;
  EXPECT_TRUE(memory.tokenise(text, add_begin, tokens));
  return tokens;
}

TEST(TokenMemory, WhatWasSeenIsNotTokenisedAgain) {
  CountingVocabulary vocabulary;
  TokenMemory memory(vocabulary, kSample);
  const std::string first = turn('a', 5000) + turn('b', 3000);
  EXPECT_EQ(tokens_of(memory, first), *vocabulary.real.tokenise(first, true));
  vocabulary.bytes = 0;
  const std::string next = first + turn('c', 100);
  EXPECT_EQ(tokens_of(memory, next), *vocabulary.real.tokenise(next, true));
  EXPECT_LT(vocabulary.bytes, 200u);
  // Without the begin mark, too: a part behind an answer.
  vocabulary.bytes = 0;
  EXPECT_EQ(tokens_of(memory, turn('b', 3000), false), *vocabulary.real.tokenise(turn('b', 3000), false));
  EXPECT_LT(vocabulary.bytes, 20u);
}

TEST(TokenMemory, ItsBytesAreBounded) {
  CountingVocabulary vocabulary;
  TokenMemory memory(vocabulary, kSample, 50'000);
  for (int i = 0; i < 100; ++i) {
    tokens_of(memory, turn(static_cast<char>('a' + i % 26), 1000 + static_cast<std::size_t>(i)));
    EXPECT_LE(memory.bytes(), 50'000u);
  }
  // One that is larger than all of it is not kept, and right.
  EXPECT_EQ(tokens_of(memory, turn('z', 60'000)), *vocabulary.real.tokenise(turn('z', 60'000), true));
  EXPECT_LE(memory.bytes(), 50'000u);
  // The last used stay.
  tokens_of(memory, turn('q', 1500));
  tokens_of(memory, turn('r', 1500));
  vocabulary.bytes = 0;
  tokens_of(memory, turn('q', 1500));
  EXPECT_LT(vocabulary.bytes, 20u);
}

TEST(TokenMemory, WhereNoCutIsKnownToBeRightItTokenisesTheWhole) {
  CountingVocabulary vocabulary;
  vocabulary.cuts = false;
  TokenMemory memory(vocabulary, kSample);
  const std::string text = turn('a', 500) + turn('b', 500);
  for (int i = 0; i < 2; ++i) {
    vocabulary.bytes = 0;
    EXPECT_EQ(tokens_of(memory, text), *vocabulary.real.tokenise(text, true));
    EXPECT_EQ(vocabulary.bytes, text.size());
  }
}

TEST(TokenMemory, AnyTextAnyTime) {
  CountingVocabulary vocabulary;
  TokenMemory memory(vocabulary, kSample, 3000);
  std::mt19937_64 random(5);
  constexpr std::string_view kPieces[] = {"<|user|>", "<|end|>", "<|assistant|>", "<|", "<|user", "|>", "some words ", "x", "<<|user|>", "<|begin|>"};
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (std::size_t i = random() % 40; i-- > 0;) text += kPieces[random() % std::size(kPieces)];
    if (random() % 4 == 0) text += std::string(100, 'y');
    const bool begin = random() % 2 == 0;
    ASSERT_EQ(tokens_of(memory, text, begin), *vocabulary.real.tokenise(text, begin)) << text;
  }
}

}  // namespace
}  // namespace pensieve
