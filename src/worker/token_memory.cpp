#include "worker/token_memory.h"

#include <algorithm>

namespace pensieve {
namespace {

// Shorter ones are tokenised as fast as they are looked up.
constexpr std::size_t kRememberedMin = 64;
constexpr std::size_t kWordBytesMax = 32;

// Where `text` may be cut, in order: positions behind 0 at which one of `marks` stands.
std::vector<std::size_t> cuts_in(std::string_view text, const std::vector<std::string>& marks) {
  std::vector<std::size_t> cuts;
  for (const std::string& mark : marks) {
    for (std::size_t at = text.find(mark, 1); at != std::string_view::npos; at = text.find(mark, at + mark.size())) cuts.push_back(at);
  }
  std::ranges::sort(cuts);
  return cuts;
}

}  // namespace

Result<void> TokenMemory::tokenise(std::string_view text, bool add_begin, std::vector<TokenId>& tokens) {
  if (marks_.empty()) {  // Only the whole is known to be right.
    auto all = vocabulary_.tokenise(text, add_begin);
    if (!all) return std::move(all).error();
    tokens.insert(tokens.end(), all->begin(), all->end());
    return {};
  }
  if (add_begin) tokens.push_back(vocabulary_.begin_token());
  std::size_t done = 0;
  std::vector<std::size_t> cuts = cuts_in(text, marks_);
  cuts.push_back(text.size());
  for (const std::size_t cut : cuts) {
    if (Result<void> appended = append(text.substr(done, cut - done), tokens); !appended) return appended;
    done = cut;
  }
  return {};
}

Result<void> TokenMemory::append(std::string_view piece, std::vector<TokenId>& tokens) {
  if (const auto known = by_text_.find(piece); known != by_text_.end()) {
    pieces_.splice(pieces_.begin(), pieces_, known->second);
    tokens.insert(tokens.end(), known->second->tokens.begin(), known->second->tokens.end());
    return {};
  }
  const auto before = static_cast<std::ptrdiff_t>(tokens.size());
  if (Result<void> done = append_words(piece, tokens); !done) return done;
  if (piece.size() < kRememberedMin) return {};
  pieces_.push_front({std::string(piece), {tokens.begin() + before, tokens.end()}});
  by_text_.emplace(pieces_.front().text, pieces_.begin());
  bytes_ += cost(pieces_.front());
  while (bytes_ > bytes_max_) {
    bytes_ -= cost(pieces_.back());
    by_text_.erase(pieces_.back().text);
    pieces_.pop_back();
  }
  return {};
}

Result<void> TokenMemory::append_words(std::string_view piece, std::vector<TokenId>& tokens) {
  std::size_t done = 0;
  for (std::size_t at = piece.find(' ', 1); at != std::string_view::npos; at = piece.find(' ', at + 1)) {
    if (!vocabulary_.cuts_at(piece, at)) continue;
    if (Result<void> appended = append_word(piece.substr(done, at - done), done > 0, tokens); !appended) return appended;
    done = at;
  }
  return append_word(piece.substr(done), done > 0, tokens);
}

Result<void> TokenMemory::append_word(std::string_view word, bool behind, std::vector<TokenId>& tokens) {
  const bool remembered = behind && word.size() <= kWordBytesMax;
  if (remembered) {
    if (const auto known = words_.find(word); known != words_.end()) {
      const auto ids = std::span(word_ids_).subspan(known->second.begin, known->second.count);
      tokens.insert(tokens.end(), ids.begin(), ids.end());
      return {};
    }
  }
  const auto made = behind ? vocabulary_.tokenise_behind(word) : vocabulary_.tokenise(word, false);
  if (!made) return made.error();
  tokens.insert(tokens.end(), made->begin(), made->end());
  if (!remembered) return {};
  if (words_.size() >= kWordsMax) {
    words_.clear();
    word_ids_.clear();
  }
  words_.emplace(word, Ids{static_cast<std::uint32_t>(word_ids_.size()), static_cast<std::uint32_t>(made->size())});
  word_ids_.insert(word_ids_.end(), made->begin(), made->end());
  return {};
}

}  // namespace pensieve
