// An engine that follows a script, for simulation, contract and fault tests. It
// stands beside the real one, never in its place: no program that users run
// links it.
//
// Its vocabulary is the 256 bytes and five markers. The answer to a prompt is the
// text of its last user message, byte for byte, then the end of the turn; so a
// test writes the answer it wants into its question. A message that begins with
// one of these words does something else:
//
//   !turns ["A","B"] says A, in the next turn of the assistant B, and so on; may stand
//                    anywhere in any message of the user, the last such message counts.
//                    Beyond the last entry it says "done". A test writes a model's raw
//                    calls and thinking into it.
//   !repeat N TEXT   says TEXT N times
//   !bytes HEX       says these bytes (to split characters, to break UTF-8)
//   !abort           dies by abort() in the step after the prompt
//   !hang            never returns from that step
//   !spin            the same, and computes
//   !stop            stops there, as SIGSTOP does
//   !deaf            closes the wire in that step and goes on
//   !nonsense        says something on the wire that is no report
//   !fail            that step returns an error
//
// It says what the script says also under a grammar: scripts are meant to break rules.
//
// With `sees` it takes for an image any bytes that begin with "image" or as a PNG (those that begin with "image bad" pass the first
// look only): 12 rows, whose ids are made of the bytes. A message with "!see" in it is answered with how many rows of
// pictures it was shown, and a number that follows from their bytes.
//
// Its KV state is the tokens themselves, in two pieces that must agree: what was
// restored wrongly is answered wrongly, or trips a CHECK.
#pragma once

#include <chrono>
#include <map>

#include "engine/engine.h"

namespace pensieve {

std::unique_ptr<Vocabulary> make_fake_vocabulary();

struct FakeEngineOptions {
  std::int32_t slots = 2;
  std::int32_t context_tokens = 4096;
  std::chrono::microseconds step_time{0};  // Every step takes this long.
  bool whole_states = false;               // Its state cannot be cut, as that of a recurrent model.
  std::int32_t state_grain = 1;
  bool sees = false;
  bool rows_alone = false;  // See EngineFacts.
  bool cells_apart = false; // Its cells do not lie in this process' memory.
};

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(const FakeEngineOptions& options);
  ~FakeEngine() override;

  const EngineFacts& facts() const override { return facts_; }
  const Vocabulary& vocabulary() const override { return *vocabulary_; }
  Result<void> step(std::span<const Row> rows) override;
  std::span<const float> logits(std::size_t row) const override;
  void forget(SequenceId sequence, std::int32_t from_position) override;
  const Sight* sight() const override { return sight_.get(); }
  Result<void> see(SequenceId sequence, std::int32_t position, std::string_view image, std::int32_t part) override;
  Result<std::unique_ptr<Sampler>> make_sampler(const Sampling& sampling, const Grammar* grammar) override;
  const KvShape* kv_shape() const override { return options_.whole_states ? nullptr : &kv_shape_; }
  std::string kv_problem() const override { return {}; }
  Result<void> claim_kv(SequenceId sequence, std::span<const TokenId> tokens) override;
  void read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const override;
  std::span<std::byte> kv_cells(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count) override;
  std::uint64_t give_back_kv(SequenceId sequence) override;
  void write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) override;
  void dawdle(std::chrono::microseconds time) { dawdle_ = time; }  // The next read_kv() takes so long.
  std::string state_layout() const override { return options_.whole_states ? "fake states" : ""; }
  std::int32_t state_grain() const override { return options_.state_grain; }
  std::size_t state_bytes(SequenceId sequence) const override;
  Result<void> save_state(SequenceId sequence, std::span<std::byte> out) const override;
  Result<void> load_state(SequenceId sequence, std::span<const std::byte> state) override;

 private:
  FakeEngineOptions options_;
  EngineFacts facts_;
  std::unique_ptr<Vocabulary> vocabulary_;
  std::unique_ptr<Sight> sight_;
  KvShape kv_shape_{{sizeof(TokenId), sizeof(TokenId)}, "fake"};
  std::map<SequenceId, std::vector<TokenId>> sequences_;
  std::map<SequenceId, std::vector<TokenId>> second_piece_;  // Each token, complemented.
  std::map<std::size_t, std::vector<float>> logits_;
  mutable std::chrono::microseconds dawdle_{0};
};

}  // namespace pensieve
