// Whether the same request gives the same logits, bit for bit, in whatever conditions
// it is run: what exact mode promises (slot_keeper.h), tried on this machine with this
// model. A prompt of 32 tokens and three more are run five ways, and hashes of the
// logits compared:
//
//   alone, the prompt in one step      what the others are compared with
//   cut                                the prompt in chunks of 13, 11 and 8 rows; of 1, 28 and 3 where rows are alone
//   beside another                     another sequence decodes in the same steps
//   fed again                          what was said in one step of several rows, as after a death
//   moved                              the prompt's cells read out and put into another slot; its whole state, where it cannot be cut
//
//   Owns     nothing; two sequences are its own from a step() until forget().
//   Threads  the engine thread.
//   Units    a step() is one step of the engine, of at most 32 rows.
//   Errors   a step that fails ends the check, and is what it says.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace pensieve {

class SelfCheck {
 public:
  // Only where the engine's state can be moved, in pieces or whole.
  explicit SelfCheck(Engine& engine);

  static constexpr int kRowsMax = 32;        // Of a step.
  using Cuts = std::array<std::int32_t, 4>;  // Where the prompt is cut, its begin and its end among them.

  bool done() const { return done_; }
  bool underway() const { return begun_; }  // Its sequences hold something.
  // What differs from the same prompt alone; empty: nothing. Meaningful once it is done.
  const std::string& differs() const { return differs_; }

  // The next step, in `first`; another sequence, where one is needed, in `second`. The same two
  // until forget(). With one sequence, what needs another is left out.
  void step(SequenceId first, std::optional<SequenceId> second);
  // The sequences are wanted for something else: they are empty now, and what was begun is begun again.
  void forget();

 private:
  struct Condition {
    const char* name;
    void (SelfCheck::*run)(int turn);  // Its `turn`-th step.
    int turns;
  };
  static const Condition kConditions[];

  void alone(int turn);
  void cut(int turn);
  void beside(int turn);
  void fed_again(int turn);
  void moved(int turn);
  void move_state();
  void change_places();

  void read(SequenceId sequence, std::int32_t begin, std::int32_t end);  // As a prompt is read.
  void decode(std::int32_t position, bool with_other);
  bool run(const std::vector<Row>& rows);
  void compare(std::int32_t position, std::size_t row);
  void end(std::string differs);

  Engine& engine_;
  const Cuts cuts_;
  SequenceId first_{};
  std::optional<SequenceId> second_;
  bool begun_ = false;
  bool moved_ = false;  // Into the second: the two have changed places.
  std::size_t at_ = 0;  // Of the conditions,
  int turn_ = 0;        // and its next step.
  std::vector<std::uint64_t> expected_;  // Hashes of the logits from the prompt's last token on.
  std::string differs_;
  bool done_ = false;
};

}  // namespace pensieve
