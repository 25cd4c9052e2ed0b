// The engine thread's loop where the model makes embeddings: take orders, read a step of an
// input, report its vector. Requests take turns, an input at a time, so that one of thousands of
// inputs does not keep one of a few waiting; an input that was begun is read to its end first.
//
// Each step holds one input alone: its vector has the same bits in whatever company it
// is asked for (docs/decisions/0013).
//
//   Owns     the requests that run.
//   Threads  run() is the engine thread's whole life.
//   Errors   a step that fails ends the request that it was for; the others go on.
#pragma once

#include <deque>
#include <optional>

#include "engine/engine.h"
#include "worker/inbox.h"
#include "worker/pace_meter.h"
#include "worker/wire_port.h"

namespace pensieve {

class EmbedLoop {
 public:
  // All must outlive it.
  EmbedLoop(Embedder& embedder, Inbox& inbox, Progress& progress, WirePort& port) : embedder_(embedder), inbox_(inbox), progress_(progress), port_(port) {}

  // Until a Shutdown, or the end of input and of all requests.
  void run();

 private:
  struct Running {
    explicit Running(EmbedRequest of);

    EmbedRequest request;
    std::size_t next;              // The input that is read,
    std::int32_t position = 0;     // and how much of it was.
    std::int32_t done_tokens = 0;  // Of the inputs before it.
    std::int32_t total_tokens = 0;
    bool started = false;
    bool paused = false;
  };

  bool handle(Order order);  // False: stop now.
  void step(Running& running);
  void report_vector(Running& running);
  void finish(Running& running, FinishReason reason);
  void fail(Running& running, Error error);
  std::deque<Running>::iterator find(RequestId id);
  void publish();

  Embedder& embedder_;
  Inbox& inbox_;
  Progress& progress_;
  WirePort& port_;
  std::deque<Running> running_;  // Whose turn it is first.
  std::optional<RequestId> held_;  // Whose input the engine is in the midst of.
  PaceMeter pace_;
  bool input_ended_ = false;
};

}  // namespace pensieve
