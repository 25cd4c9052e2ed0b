#include "worker/self_check.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "engine/fake_engine.h"

namespace pensieve {
namespace {

// The scripted engine, with logits that tell where they come from: what is said so far,
// and one more thing that they should not depend on.
enum class Fault { none, few_rows, chunk, company, moved_cells, step };

class TellingEngine final : public Engine {
 public:
  TellingEngine(std::int32_t slots, Fault fault) : under_(FakeEngineOptions{slots, 4096, {}}), fault_(fault) {}

  const EngineFacts& facts() const override { return under_.facts(); }
  const Vocabulary& vocabulary() const override { return under_.vocabulary(); }
  Result<void> step(std::span<const Row> rows) override {
    if (fault_ == Fault::step && ++steps_ == 3) return Error{ErrorCode::internal, "a step that fails"};
    rows_max_ = std::max(rows_max_, rows.size());
    std::map<SequenceId, std::size_t> each;
    for (const Row& row : rows) ++each[row.sequence];
    logits_.clear();
    for (std::size_t i = 0; i < rows.size(); ++i) {
      State& state = sequences_[rows[i].sequence];
      // What a broken kernel would round otherwise.
      if (fault_ == Fault::few_rows && rows.size() > 1 && rows.size() < 8) state.error = 1e-7f;
      if (fault_ == Fault::chunk && rows.size() == 13) state.error = 1e-7f;
      if (fault_ == Fault::company && each.size() > 1) state.error = 1e-7f;
      state.sum = state.sum * 0.5f + static_cast<float>(rows[i].token);
      if (rows[i].wants_logits) logits_[i].assign(static_cast<std::size_t>(vocabulary().size()), state.sum + 1000.0f * state.error);
    }
    return under_.step(rows);
  }
  std::span<const float> logits(std::size_t row) const override { return logits_.at(row); }
  void forget(SequenceId sequence, std::int32_t from) override {
    EXPECT_EQ(from, 0);
    sequences_.erase(sequence);
    under_.forget(sequence, from);
  }
  Result<std::unique_ptr<Sampler>> make_sampler(const Sampling& sampling, const Grammar* grammar) override { return under_.make_sampler(sampling, grammar); }
  const KvShape* kv_shape() const override { return under_.kv_shape(); }
  std::string kv_problem() const override { return {}; }
  Result<void> claim_kv(SequenceId sequence, std::span<const TokenId> tokens) override { return under_.claim_kv(sequence, tokens); }
  void read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const override {
    under_.read_kv(sequence, piece, begin, count, out);
  }
  void write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) override {
    under_.write_kv(sequence, piece, begin, count, from, from_tokens);
    if (piece != 0) return;
    State& state = sequences_[sequence];
    state = {};
    for (std::int32_t i = 0; i < count; ++i) {
      TokenId token = 0;
      std::memcpy(&token, from.data() + static_cast<std::size_t>(i) * sizeof(token), sizeof(token));
      state.sum = state.sum * 0.5f + static_cast<float>(token);
    }
    if (fault_ == Fault::moved_cells) state.error = 1e-7f;
  }

  bool empty() const { return sequences_.empty(); }
  std::size_t rows_max() const { return rows_max_; }

 private:
  struct State {
    float sum = 0;
    float error = 0;
  };
  FakeEngine under_;
  const Fault fault_;
  std::map<SequenceId, State> sequences_;
  std::map<std::size_t, std::vector<float>> logits_;
  std::size_t rows_max_ = 0;
  int steps_ = 0;
};

constexpr SequenceId kFirst{1}, kSecond{0};

std::string said_of(Fault fault, bool alone = false) {
  TellingEngine engine(2, fault);
  SelfCheck check(engine);
  for (int steps = 0; !check.done() && steps < 100; ++steps) check.step(kFirst, alone ? std::nullopt : std::optional(kSecond));
  EXPECT_TRUE(check.done());
  EXPECT_TRUE(engine.empty()) << "nothing is left behind";
  EXPECT_LE(engine.rows_max(), 33u);
  return check.differs();
}

TEST(SelfCheck, SaysWhatDiffers) {
  EXPECT_EQ(said_of(Fault::none), "");
  EXPECT_EQ(said_of(Fault::chunk), "logits differ with a prompt cut elsewhere, at token 32");
  EXPECT_EQ(said_of(Fault::company), "logits differ with beside another sequence, at token 33");
  EXPECT_EQ(said_of(Fault::few_rows).substr(0, 38), "logits differ with beside another sequ");
  EXPECT_EQ(said_of(Fault::few_rows, true), "logits differ with an answer fed again, at token 35");
  EXPECT_EQ(said_of(Fault::moved_cells), "logits differ with cells that were moved, at token 32");
  EXPECT_EQ(said_of(Fault::moved_cells, true), "logits differ with cells that were moved, at token 32");
  EXPECT_EQ(said_of(Fault::step), "it could not be tried: a step that fails");
}

TEST(SelfCheck, WithOneSequenceItKnowsNothingOfCompany) {
  EXPECT_EQ(said_of(Fault::none, true), "");
  EXPECT_EQ(said_of(Fault::company, true), "");
}

// A request comes after any step: the sequences are its own, the check begins anew where it was.
TEST(SelfCheck, GivesItsSequencesBackAtAnyTime) {
  for (int interrupted = 0; interrupted < 40; ++interrupted) {
    TellingEngine engine(2, interrupted % 2 == 0 ? Fault::none : Fault::moved_cells);
    SelfCheck check(engine);
    for (int steps = 0; !check.done() && steps < 200; ++steps) {
      if (steps == interrupted) {
        check.forget();
        ASSERT_TRUE(engine.empty());
      }
      check.step(kFirst, kSecond);
    }
    ASSERT_TRUE(check.done());
    EXPECT_EQ(check.differs().empty(), interrupted % 2 == 0) << interrupted;
  }
}

}  // namespace
}  // namespace pensieve
