// Holds one sequence to a grammar, with libllama's grammar engine behind it, so
// that looking at one token is cheap and looking at all of them is rare:
//
//   allows()        one token; microseconds.
//   best_allowed()  the best ones of a whole vocabulary, in falling order of logit. It asks which
//                   bytes may come next at all (one probe a byte), takes the tokens that begin
//                   with such a byte, and walks them best first until it has enough.
//
// Two things are stricter here than in libllama: bytes must stay well-formed UTF-8,
// and a control token is allowed only where the rules spell its text. Either would
// otherwise reach the client as something else than the grammar saw.
//
//   Owns     the grammar's state for one sequence. The index must outlive it.
//   Threads  the engine thread.
//   Errors   after a token that the grammar does not allow was accepted, or when
//            nothing at all is allowed, it is broken(): it allows everything.
#pragma once

#include <llama.h>

#include <array>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/request.h"

namespace pensieve {

// The bytes of every token, which token is a given single byte, and which begin with it. One for a model, made when
// first needed: some ten bytes a token beside the texts.
class PieceIndex {
 public:
  explicit PieceIndex(const llama_vocab* vocab);
  std::string_view piece(TokenId token) const {
    const auto at = static_cast<std::size_t>(token);
    return {bytes_.data() + begins_[at], begins_[at + 1] - begins_[at]};
  }
  const llama_vocab* vocab() const { return vocab_; }
  bool is_control(TokenId token) const { return control_[static_cast<std::size_t>(token)]; }
  bool ends_turn(TokenId token) const { return ends_turn_[static_cast<std::size_t>(token)]; }
  const std::array<TokenId, 256>& single_bytes() const { return single_bytes_; }  // -1: there is none.
  // But for those that end the turn.
  std::span<const TokenId> beginning_with(std::size_t byte) const { return beginning_with_[byte]; }
  std::span<const TokenId> ending_turn() const { return ending_turn_; }

 private:
  const llama_vocab* vocab_;
  std::string bytes_;
  std::vector<std::size_t> begins_;
  std::vector<bool> control_;
  std::vector<bool> ends_turn_;
  std::array<TokenId, 256> single_bytes_{};
  std::array<std::vector<TokenId>, 256> beginning_with_;
  std::vector<TokenId> ending_turn_;
};

class LlamaGrammar {
 public:
  static Result<std::unique_ptr<LlamaGrammar>> make(const Grammar& grammar, const PieceIndex& index);

  bool waiting() const { return state_ == State::waiting; }  // For the text after which the rules hold.
  bool broken() const { return state_ == State::broken; }
  bool allows(TokenId token);
  // Of all tokens, in the order of their ids, the `wanted` best that are allowed stay, best first.
  void best_allowed(std::vector<llama_token_data>& candidates, std::size_t wanted);
  void accept(TokenId token);

 private:
  enum class State { waiting, holding, done, broken };
  struct Deleter {
    void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
  };
  using Handle = std::unique_ptr<llama_sampler, Deleter>;

  LlamaGrammar(Grammar grammar, const PieceIndex& index, Handle rules);
  bool may_be_said(TokenId token) const;       // By the two rules of our own.
  void thin_out(std::vector<llama_token_data>& candidates);  // Drops those that begin with a byte that cannot come next.
  std::size_t apply(llama_token_data* from, std::size_t count);  // Keeps the allowed, in order; how many.
  Handle after_marker(std::string_view head, TokenId token) const;  // Null: the rest of the token is not allowed.
  bool completes_marker(TokenId token, std::string_view& head) const;
  void break_up(std::string_view why);

  Grammar grammar_;
  const PieceIndex& index_;
  Handle rules_;
  State state_;
  std::string said_;       // While waiting: its end, shorter than the marker.
  std::string unfinished_;  // Bytes of a character that is not whole yet.
  std::vector<TokenId> spelled_control_;  // Control tokens that the rules spell.
  TokenId checked_ = -1;    // Allowed at the present state.
  std::vector<llama_token_data> scratch_;
};

}  // namespace pensieve
