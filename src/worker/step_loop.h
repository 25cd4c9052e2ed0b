// The engine thread's loop: take orders, plan a step, run it, sample, report.
// Sequences run by continuous batching: a request joins as soon as a slot is free
// and leaves at its last token, while the others go on. Prefill chunks alternate
// with decode steps, so a long prompt delays running streams by at most one chunk
// a token (kPrefillBudget); filling a slot from where its content lies keeps to the same.
//
// A request's beginning is taken from where it lies (slot_keeper.h), and a request that
// a worker before this one had begun goes on where that one stopped.
//
//   Owns     the running sequences and the line before them, the record of the slots.
//   Threads  run() is the engine thread's whole life.
//   Errors   a failed step ends the sequences that were in it, each with Failed;
//            the others go on.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "worker/answer_memory.h"
#include "worker/answer_reader.h"
#include "worker/inbox.h"
#include "worker/slot_keeper.h"
#include "worker/pace_meter.h"
#include "worker/self_check.h"
#include "worker/sequence.h"
#include "worker/wire_port.h"

namespace pensieve {

// What one prefill step may add to the time between two tokens of a running
// stream, as far as the smallest chunk allows.
inline constexpr std::chrono::milliseconds kPrefillBudget{200};

// Storing what slots hold may cost running streams this share of their time.
inline constexpr int kStoringShare = 20;  // One part in twenty: 5 %.
inline constexpr int kStoringShareAlone = 10;  // While a prompt is read and nobody hears from a stream: what it brings must not pile up.

class StepLoop {
 public:
  // `store` may be null. `exact_tried`: a process before this one did the self-check, and saw nothing that differs.
  StepLoop(Engine& engine, const ChatTemplate& chat, Inbox& inbox, Progress& progress, WirePort& port, AnswerMemory& answers, std::unique_ptr<BlockStore> store, bool exact, bool exact_tried);
  ~StepLoop();

  // Until a Shutdown, or the end of input and of all requests.
  void run();

 private:
  bool handle(Order order);  // False: stop now.
  void admit_waiting();
  bool will_share(const GenerateRequest& request) const;
  void begin(GenerateRequest request, SequenceId slot);
  void entering_step();
  void restored(Sequence& sequence);
  void prefill_step(Sequence& sequence);
  void picture_step(Sequence& sequence);
  void refeed_step(Sequence& sequence);
  void decode_step();
  bool idle_step();
  void reread_step();
  bool check_may_run() const;
  bool check_is_due() const;
  std::chrono::milliseconds check_due_in() const;  // A long time: not as things are.
  void check_step();
  void restore_step(Sequence& sequence);
  bool run_rows(Sequence& sequence, bool as_prefill);
  void replay(Sequence& sequence);
  void sample_and_report(Sequence& sequence, std::size_t row);
  void take_in(Sequence& sequence, TokenId token, std::int64_t sampled_us);
  void report_all(Sequence& sequence, std::vector<StreamEvent> events, std::int64_t sampled_us);
  void report(Sequence& sequence, StreamEvent event);
  void finish(Sequence& sequence, FinishReason reason);
  void fail(RequestId id, Error error);
  void drop_finished();
  Sequence* find(RequestId id);
  bool any_entering() const;
  bool any_resuming() const;  // What a worker before this one had begun, and is not where that one stopped.
  bool any_decoding() const;
  void publish();

  Engine& engine_;
  const ChatTemplate& chat_;
  Inbox& inbox_;
  Progress& progress_;
  WirePort& port_;
  AnswerMemory& answers_;
  std::vector<std::unique_ptr<Sequence>> running_;  // In order of arrival.
  std::deque<GenerateRequest> waiting_;
  std::unique_ptr<SlotKeeper> keeper_;
  std::optional<SlotKeeper::Unread> rereading_;
  std::optional<SelfCheck> check_;  // Of what exact mode promises; until it is done. Runs when nothing else is to do.
  std::vector<SequenceId> check_slots_;
  std::chrono::microseconds check_time_{0}, check_step_max_{0};
  TimePoint quiet_since_ = SteadyClock::now();  // The last time a request was here.
  std::optional<std::string> differs_;  // What it said.
  std::vector<Row> rows_;
  std::chrono::microseconds last_step_{0};
  double prefill_rate_ = 0;       // Tokens a second, moving average.
  PaceMeter pace_;
  std::size_t read_rows_ = 0;     // Of the step just made: of a prompt,
  std::size_t decoded_rows_ = 0;  // or decoded.
  std::size_t decode_turn_ = 0;   // Where the next decode step begins, when there are more than fit.
  bool input_ended_ = false;
};

}  // namespace pensieve
