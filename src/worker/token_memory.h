// Tokenises long prompts that are mostly known: an agent sends its whole session with
// every turn, and count_tokens beside it. The text is cut in front of the marks at which
// the vocabulary says it may be cut (Vocabulary::cuts()), and the tokens of pieces seen
// lately are remembered, by all of their bytes. A new piece is put together of its words,
// where the vocabulary says that they stand apart (cuts_at()): most were seen before. The
// result is the one of tokenising the whole.
//
//   Owns     the pieces it remembers: `bytes_max` of text and ids, those not used longest go first;
//            kWordsMax words, which go all at once.
//   Threads  one: the wire thread.
//   Errors   what the vocabulary says.
#pragma once

#include <list>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/engine.h"

namespace pensieve {

class TokenMemory {
 public:
  // Sessions of a dozen agents, each with 50 kB of system prompt and tools.
  static constexpr std::size_t kBytesMax = 2u << 20;
  static constexpr std::size_t kWordsMax = 8192;  // With their ids some 1 MB.

  // `sample`: a prompt that shows the marks between turns.
  TokenMemory(const Vocabulary& vocabulary, std::string_view sample, std::size_t bytes_max = kBytesMax)
      : vocabulary_(vocabulary), marks_(vocabulary.cut_marks(sample)), bytes_max_(bytes_max) {}

  // Appends the tokens of `text`.
  Result<void> tokenise(std::string_view text, bool add_begin, std::vector<TokenId>& tokens);
  std::size_t bytes() const { return bytes_; }

 private:
  struct Piece {
    std::string text;
    std::vector<TokenId> tokens;
  };
  Result<void> append(std::string_view piece, std::vector<TokenId>& tokens);
  Result<void> append_words(std::string_view piece, std::vector<TokenId>& tokens);
  Result<void> append_word(std::string_view word, bool behind, std::vector<TokenId>& tokens);
  static std::size_t cost(const Piece& piece) { return piece.text.size() + piece.tokens.size() * sizeof(TokenId) + 200; }

  const Vocabulary& vocabulary_;
  const std::vector<std::string> marks_;
  const std::size_t bytes_max_;
  std::list<Piece> pieces_;  // The last used first.
  std::unordered_map<std::string_view, std::list<Piece>::iterator> by_text_;
  std::size_t bytes_ = 0;

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };
  struct Ids {
    std::uint32_t begin = 0, count = 0;  // In word_ids_.
  };
  std::unordered_map<std::string, Ids, Hash, std::equal_to<>> words_;  // Those behind a space.
  std::vector<TokenId> word_ids_;
};

}  // namespace pensieve
