#include "engine/llama_vocabulary.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace pensieve {
namespace {

class LlamaVocabulary final : public Vocabulary {
 public:
  explicit LlamaVocabulary(const llama_vocab* vocab) : vocab_(vocab) {
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_SPM) find_word_edges();
  }

  Result<std::vector<TokenId>> tokenise(std::string_view text, bool add_begin) const override {
    std::vector<TokenId> tokens(text.size() + 8);
    const auto text_bytes = static_cast<std::int32_t>(text.size());
    std::int32_t count = llama_tokenize(vocab_, text.data(), text_bytes, tokens.data(), static_cast<std::int32_t>(tokens.size()), add_begin, true);
    if (count < 0) {
      tokens.resize(static_cast<std::size_t>(-static_cast<std::int64_t>(count)));
      count = llama_tokenize(vocab_, text.data(), text_bytes, tokens.data(), static_cast<std::int32_t>(tokens.size()), add_begin, true);
    }
    if (count < 0) return Error{ErrorCode::internal, "the prompt could not be split into tokens"};
    tokens.resize(static_cast<std::size_t>(count));
    return tokens;
  }

  std::string piece(TokenId token) const override { return text_of(token, false); }
  std::string control_text(TokenId token) const override { return token < 0 ? std::string() : text_of(token, true); }
  bool ends_turn(TokenId token) const override { return llama_vocab_is_eog(vocab_, token); }
  std::int32_t size() const override { return llama_vocab_n_tokens(vocab_); }
  TokenId begin_token() const override { return llama_vocab_bos(vocab_); }
  TokenId end_token() const override { return llama_vocab_eos(vocab_); }
  bool adds_begin() const override { return llama_vocab_get_add_bos(vocab_); }

  // libllama first splits a text at its special tokens, the longest of them first, then tokenises what lies between,
  // each piece for itself. So it may be cut in front of a special token, unless that one takes white space away
  // before it, or another one could reach over the cut.
  std::vector<std::string> cut_marks(std::string_view sample) const override {
    const auto type = llama_vocab_type(vocab_);
    if ((type != LLAMA_VOCAB_TYPE_SPM && type != LLAMA_VOCAB_TYPE_BPE) || llama_vocab_get_add_eos(vocab_)) return {};
    std::vector<std::string> specials, marks;
    for (TokenId token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
      const auto attributes = static_cast<unsigned>(llama_vocab_get_attr(vocab_, token));
      std::string text = llama_vocab_get_text(vocab_, token);
      if (!is_special(attributes) || text.empty()) continue;
      const bool control = (attributes & LLAMA_TOKEN_ATTR_CONTROL) != 0 && (attributes & LLAMA_TOKEN_ATTR_LSTRIP) == 0;
      if (control && sample.find(text) != std::string_view::npos) marks.push_back(text);
      specials.push_back(std::move(text));
    }
    std::erase_if(marks, [&](std::string_view mark) { return std::ranges::any_of(specials, [mark](std::string_view special) { return may_reach_over(special, mark); }); });
    return marks;
  }

  bool cuts_at(std::string_view text, std::size_t at) const override {
    return spaces_apart_ && at > 0 && at + 1 < text.size() && text[at] == ' ' && word_ends_[static_cast<unsigned char>(text[at - 1])] && word_begins_[static_cast<unsigned char>(text[at + 1])];
  }
  // A vocabulary that sets a space before every text sets the one that `part` begins with.
  Result<std::vector<TokenId>> tokenise_behind(std::string_view part) const override { return tokenise(sets_space_ ? part.substr(1) : part, false); }

 private:
  static bool is_special(unsigned attributes) { return (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_UNKNOWN)) != 0; }

  // SentencePiece joins neighbours as long as what they make is a token. Where no token has a space behind a letter,
  // nothing is ever joined over the edge between a word that ends so and the space behind it, and either side comes
  // out the same alone. Special tokens are found in the text before that: no edge where one could begin or end.
  void find_word_edges() {
    constexpr std::string_view kSpace = "\xE2\x96\x81";
    for (unsigned c = '0'; c <= 'z'; ++c) word_ends_[c] = word_begins_[c] = std::isalnum(static_cast<int>(c)) != 0;
    for (TokenId token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
      const std::string_view text = llama_vocab_get_text(vocab_, token);
      if (text.empty()) continue;
      if (is_special(static_cast<unsigned>(llama_vocab_get_attr(vocab_, token)))) {
        word_ends_[static_cast<unsigned char>(text.back())] = word_begins_[static_cast<unsigned char>(text.front())] = false;
        if (text.find(' ') != std::string_view::npos) return;
      }
      for (std::size_t at = text.find(kSpace, 1); at != std::string_view::npos; at = text.find(kSpace, at + 1)) word_ends_[static_cast<unsigned char>(text[at - 1])] = false;
    }
    // How it treats the beginning of a text is not to be asked; it is seen.
    const auto alone = tokenise("a", false), spaced = tokenise(" a", false);
    if (!alone || !spaced) return;
    sets_space_ = alone->size() > 0 && *alone != *spaced && piece(alone->front()).starts_with(' ');
    spaces_apart_ = true;
  }

  // Whether `special` can stand so that it begins in front of a `mark` and ends behind where that begins.
  static bool may_reach_over(std::string_view special, std::string_view mark) {
    for (std::size_t at = 1; at < special.size(); ++at) {
      const std::size_t common = std::min(special.size() - at, mark.size());
      if (special.substr(at, common) == mark.substr(0, common)) return true;
    }
    return false;
  }

  std::string text_of(TokenId token, bool special) const {
    std::array<char, 128> buffer{};
    const std::int32_t length = llama_token_to_piece(vocab_, token, buffer.data(), buffer.size(), 0, special);
    if (length >= 0) return {buffer.data(), static_cast<std::size_t>(length)};
    std::string text(static_cast<std::size_t>(-length), '\0');
    llama_token_to_piece(vocab_, token, text.data(), -length, 0, special);
    return text;
  }

  const llama_vocab* vocab_;
  bool spaces_apart_ = false;  // Texts may be cut between words.
  bool sets_space_ = false;
  std::array<bool, 256> word_ends_{}, word_begins_{};
};

}  // namespace

std::unique_ptr<Vocabulary> make_llama_vocabulary(const llama_vocab* vocab) { return std::make_unique<LlamaVocabulary>(vocab); }

}  // namespace pensieve
