// The engine thread's loop: take orders, plan a step, run it, sample, report.
// Sequences run by continuous batching: a request joins as soon as a slot is free
// and leaves at its last token, while the others go on. Prefill chunks alternate
// with decode steps, so a long prompt delays running streams by at most one chunk
// a token (kPrefillBudget).
//
//   Owns     the running sequences and the line before them.
//   Threads  run() is the engine thread's whole life.
//   Errors   a failed step ends the sequences that were in it, each with Failed;
//            the others go on.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "worker/answer_reader.h"
#include "worker/inbox.h"
#include "worker/wire_port.h"

namespace pensieve {

// What one prefill step may add to the time between two tokens of a running
// stream, as far as the smallest chunk allows.
inline constexpr std::chrono::milliseconds kPrefillBudget{200};

class StepLoop {
 public:
  StepLoop(Engine& engine, const ChatTemplate& chat, Inbox& inbox, Progress& progress, WirePort& port);
  ~StepLoop();

  // Until a Shutdown, or the end of input and of all requests.
  void run();

 private:
  struct Sequence;

  bool handle(Order order);  // False: stop now.
  void admit_waiting();
  void prefill_step();
  void decode_step();
  void sample_and_report(Sequence& sequence, std::size_t row);
  void report_all(Sequence& sequence, std::vector<StreamEvent> events, std::int64_t sampled_us);
  void finish(Sequence& sequence, FinishReason reason);
  void fail(RequestId id, Error error);
  void drop_finished();
  Sequence* find(RequestId id);
  bool any_prefilling() const;
  bool any_decoding() const;

  Engine& engine_;
  const ChatTemplate& chat_;
  Inbox& inbox_;
  Progress& progress_;
  WirePort& port_;
  std::vector<std::unique_ptr<Sequence>> running_;  // In order of arrival.
  std::deque<GenerateRequest> waiting_;
  std::vector<SequenceId> free_slots_;
  std::vector<Row> rows_;
  double prefill_rate_ = 0;       // Tokens a second, moving average.
  std::size_t decode_turn_ = 0;   // Where the next decode step begins, when there are more than fit.
  bool input_ended_ = false;
};

}  // namespace pensieve
