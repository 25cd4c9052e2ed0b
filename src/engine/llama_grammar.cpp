#include "engine/llama_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cmath>
#include <exception>

#include "base/log.h"
#include "base/utf8.h"

namespace pensieve {
namespace {

std::string text_of(const llama_vocab* vocab, TokenId token) {
  std::array<char, 128> buffer{};
  const std::int32_t length = llama_token_to_piece(vocab, token, buffer.data(), buffer.size(), 0, true);
  if (length >= 0) return {buffer.data(), static_cast<std::size_t>(length)};
  std::string text(static_cast<std::size_t>(-length), '\0');
  llama_token_to_piece(vocab, token, text.data(), -length, 0, true);
  return text;
}

std::string escaped_for_regex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view(R"(\^$.|?*+()[]{}-/)").find(c) != std::string_view::npos) out.push_back('\\');
    out.push_back(c);
  }
  return out;
}

bool stays_well_formed(std::string_view begun, std::string_view more) {
  if (begun.empty() && std::ranges::all_of(more, [](char c) { return static_cast<unsigned char>(c) < 0x80; })) return true;
  const std::string all = std::string(begun) + std::string(more);
  return utf8_valid(std::string_view(all).substr(0, all.size() - utf8_incomplete_tail(all)));
}

}  // namespace

PieceIndex::PieceIndex(const llama_vocab* vocab) : vocab_(vocab) {
  const std::int32_t size = llama_vocab_n_tokens(vocab);
  single_bytes_.fill(-1);
  begins_.push_back(0);
  for (TokenId token = 0; token < size; ++token) {
    const std::string text = text_of(vocab, token);
    bytes_ += text;
    begins_.push_back(bytes_.size());
    const auto attributes = static_cast<unsigned>(llama_vocab_get_attr(vocab, token));
    const bool control = (attributes & (LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN | LLAMA_TOKEN_ATTR_UNUSED)) != 0;
    control_.push_back(control);
    ends_turn_.push_back(llama_vocab_is_eog(vocab, token));
    if (ends_turn_.back()) ending_turn_.push_back(token);
    else if (!text.empty()) beginning_with_[static_cast<unsigned char>(text[0])].push_back(token);
    if (text.size() == 1 && !control) single_bytes_[static_cast<unsigned char>(text[0])] = token;
  }
}

Result<std::unique_ptr<LlamaGrammar>> LlamaGrammar::make(const Grammar& grammar, const PieceIndex& index) {
  Handle rules;
  try {
    rules.reset(llama_sampler_init_grammar(index.vocab(), grammar.rules.c_str(), "root"));
  } catch (const std::exception& problem) {
    return Error{ErrorCode::invalid_argument, fmt::format("the grammar is not accepted by the engine: {}", problem.what())};
  }
  if (!rules) return Error{ErrorCode::invalid_argument, "the grammar is not accepted by the engine"};
  return std::unique_ptr<LlamaGrammar>(new LlamaGrammar(grammar, index, std::move(rules)));
}

LlamaGrammar::LlamaGrammar(Grammar grammar, const PieceIndex& index, Handle rules)
    : grammar_(std::move(grammar)), index_(index), rules_(std::move(rules)), state_(grammar_.after.empty() ? State::holding : State::waiting) {
  for (TokenId token = 0; token < llama_vocab_n_tokens(index.vocab()); ++token) {
    if (index.is_control(token) && !index.piece(token).empty() && grammar_.rules.find(index.piece(token)) != std::string::npos) spelled_control_.push_back(token);
  }
}

bool LlamaGrammar::may_be_said(TokenId token) const {
  if (index_.ends_turn(token)) return true;
  if (index_.is_control(token) && std::ranges::find(spelled_control_, token) == spelled_control_.end()) return false;
  return stays_well_formed(unfinished_, index_.piece(token));
}

std::size_t LlamaGrammar::apply(llama_token_data* from, std::size_t count) {
  llama_token_data_array array{from, count, -1, false};
  try {
    llama_sampler_apply(rules_.get(), &array);
  } catch (const std::exception& problem) {
    break_up(problem.what());
    return count;
  }
  const auto kept = std::remove_if(from, from + count, [](const llama_token_data& data) { return std::isinf(data.logit); });
  return static_cast<std::size_t>(kept - from);
}

bool LlamaGrammar::completes_marker(TokenId token, std::string_view& head) const {
  const std::string_view piece = index_.piece(token);
  const std::string all = said_ + std::string(piece);
  const std::size_t found = all.find(grammar_.after);
  if (found == std::string::npos) return false;
  head = piece.substr(0, found + grammar_.after.size() - said_.size());
  return true;
}

LlamaGrammar::Handle LlamaGrammar::after_marker(std::string_view head, TokenId token) const {
  // The C interface takes tokens, not text: a grammar that waits for the part of this token that belongs to
  // the marker, and is fed the rest, comes to the same.
  const std::string pattern = fmt::format("^{}([\\s\\S]+)$", escaped_for_regex(head));
  const char* patterns[] = {pattern.c_str()};
  try {
    Handle fresh(llama_sampler_init_grammar_lazy_patterns(index_.vocab(), grammar_.rules.c_str(), "root", patterns, 1, nullptr, 0));
    if (fresh) llama_sampler_accept(fresh.get(), token);
    return fresh;
  } catch (const std::exception&) {  // The rest is not how an answer may begin.
    return nullptr;
  }
}

bool LlamaGrammar::allows(TokenId token) {
  if (state_ == State::broken || token == checked_) return true;
  if (state_ == State::done) return index_.ends_turn(token);
  if (state_ == State::waiting) {
    std::string_view head;
    if (index_.ends_turn(token) || !completes_marker(token, head) || head.size() == index_.piece(token).size()) return true;
    return after_marker(head, token) != nullptr;
  }
  if (!may_be_said(token)) return false;
  llama_token_data data{token, 0, 0};
  if (apply(&data, 1) == 0) return false;
  checked_ = token;
  return true;
}

void LlamaGrammar::best_allowed(std::vector<llama_token_data>& candidates, std::size_t wanted) {
  if (state_ == State::waiting) {  // Only tokens that end the marker and go on can be refused.
    std::erase_if(candidates, [&](const llama_token_data& data) { return !allows(data.id); });
    return;
  }
  thin_out(candidates);
  const auto better = [](const llama_token_data& a, const llama_token_data& b) { return a.logit > b.logit || (a.logit == b.logit && a.id < b.id); };
  const auto at = [&](std::size_t i) { return candidates.begin() + static_cast<std::ptrdiff_t>(i); };
  std::size_t kept = 0;
  std::size_t seen = 0;
  // The best few are mostly enough.
  for (std::size_t chunk = 2 * std::max<std::size_t>(32, wanted); seen < candidates.size() && kept < wanted; chunk *= 4) {
    const std::size_t end = std::min(candidates.size(), seen + chunk);
    std::partial_sort(at(seen), at(end), candidates.end(), better);
    const auto last = std::remove_if(at(seen), at(end), [&](const llama_token_data& data) { return std::isinf(data.logit) || !may_be_said(data.id); });
    const std::size_t allowed = apply(&*at(seen), static_cast<std::size_t>(last - at(seen)));
    std::move(at(seen), at(seen + allowed), at(kept));
    kept += allowed;
    seen = end;
  }
  candidates.resize(std::min(kept, wanted));
}

void LlamaGrammar::thin_out(std::vector<llama_token_data>& candidates) {
  std::vector<llama_token_data>& probes = scratch_;
  std::bitset<256> may_begin;
  probes.clear();
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const bool continues = (byte & 0xC0) == 0x80;  // A character of several bytes.
    if (continues == unfinished_.empty() || index_.beginning_with(byte).empty()) continue;
    const TokenId token = index_.single_bytes()[byte];
    if (token >= 0) probes.push_back({token, 0, 0});
    else may_begin.set(byte);  // Nobody to ask: look at each.
  }
  const std::size_t open = apply(probes.data(), probes.size());
  if (state_ == State::broken) return;
  for (std::size_t i = 0; i < open; ++i) may_begin.set(static_cast<unsigned char>(index_.piece(probes[i].id)[0]));
  std::size_t left = index_.ending_turn().size();
  for (std::size_t byte = 0; byte < 256; ++byte) left += may_begin.test(byte) ? index_.beginning_with(byte).size() : 0;
  if (left > candidates.size() / 2) return;  // Not worth the copy.
  std::vector<llama_token_data>& thin = scratch_;
  thin.clear();
  const auto take = [&](std::span<const TokenId> tokens) {
    for (const TokenId token : tokens) thin.push_back(candidates[static_cast<std::size_t>(token)]);
  };
  take(index_.ending_turn());
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (may_begin.test(byte)) take(index_.beginning_with(byte));
  }
  candidates.swap(thin);
}

void LlamaGrammar::accept(TokenId token) {
  if (state_ == State::broken || state_ == State::done) return;
  if (index_.ends_turn(token)) {
    if (!allows(token)) return break_up("the turn ended before the answer was whole");
    state_ = State::done;
    return;
  }
  if (state_ == State::waiting) {
    std::string_view head;
    if (completes_marker(token, head)) {
      if (head.size() < index_.piece(token).size()) {
        rules_ = after_marker(head, token);
        unfinished_ = index_.piece(token).substr(head.size());
        unfinished_.erase(0, unfinished_.size() - utf8_incomplete_tail(unfinished_));
        if (!rules_) return break_up("the text after the marker does not begin as it must");
      }
      state_ = State::holding;
      said_.clear();
      return;
    }
    said_ += index_.piece(token);
    const std::size_t keep = grammar_.after.size() - 1;
    if (said_.size() > keep) said_.erase(0, said_.size() - keep);
    return;
  }
  if (!allows(token)) return break_up("a token was said that it does not allow");
  checked_ = -1;
  try {
    llama_sampler_accept(rules_.get(), token);
  } catch (const std::exception& problem) {
    return break_up(problem.what());
  }
  unfinished_ += index_.piece(token);
  unfinished_.erase(0, unfinished_.size() - utf8_incomplete_tail(unfinished_));
}

void LlamaGrammar::break_up(std::string_view why) {
  log::warn("a grammar is no longer followed: {}", why);
  state_ = State::broken;
}

}  // namespace pensieve
