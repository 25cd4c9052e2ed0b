// What the wire thread does: reads commands, answers those that need no engine, hands the
// others on. What a request means before it is run, a Desk knows: one for models that
// generate, one for those that make embeddings.
//
//   Threads  run() is the wire thread's whole life.
#pragma once

#include "engine/engine.h"
#include "worker/inbox.h"
#include "worker/wire_port.h"

namespace pensieve {

// Looks at requests on the wire thread.
class Desk {
 public:
  virtual ~Desk() = default;
  virtual Result<wire::Counted> count(const wire::Count& count) = 0;
  // Good: it can be run as it stands now.
  virtual Result<void> prepare(wire::Generate& generate) = 0;
  virtual Result<void> prepare(wire::Embed& embed) = 0;
  virtual void add_to(wire::KvFacts&) const {}  // What it counted itself.
};

class WireThread {
 public:
  // All must outlive it.
  WireThread(const Model& model, Desk& desk, WirePort& port, Inbox& inbox, Progress& progress) : model_(model), desk_(desk), port_(port), inbox_(inbox), progress_(progress) {}

  void run();

 private:
  void handle(wire::Count& count);
  void handle(wire::Generate& generate);
  void handle(wire::Embed& embed);
  void handle(wire::Cancel& cancel) { inbox_.push(cancel); }
  void handle(wire::Pause& pause) { inbox_.push(pause); }
  void handle(wire::Resume& resume) { inbox_.push(resume); }
  void handle(wire::Shutdown& shutdown) { inbox_.push(shutdown); }
  void handle(wire::Memory& memory);
  void handle(wire::Health& health);
  void refuse(RequestId id, Error error) { port_.send(wire::Event{id, Failed{std::move(error)}}); }

  const Model& model_;
  Desk& desk_;
  WirePort& port_;
  Inbox& inbox_;
  Progress& progress_;
};

}  // namespace pensieve
