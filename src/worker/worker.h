// The worker process behind its main(): joins engine, chat template and wire.
//
//   Threads  the caller's becomes the engine thread; the wire thread is made here.
//            `count` and `health` are answered on the wire thread and so never
//            wait for the engine.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cache/block_store.h"
#include "engine/engine.h"

namespace pensieve {

struct WorkerOptions {
  std::string chat_template;  // See ChatTemplate::make; so is the next.
  std::string tool_syntax;
  std::string engine_version;
  std::string model_path;     // For the block store's fingerprint, as is the next.
  std::string projector_path;
  StoreOptions store;         // No folder: no block store.
  bool exact = true;          // See slot_keeper.h.
  std::string exact_tried;    // The engine's proof with which a process before this one did the self-check, and saw nothing that differs.
  int in_fd = 0;
  int out_fd = 1;
};

using ModelLoader = std::function<Result<LoadedModel>(const std::function<void(double)>& on_progress)>;

// Says hello, loads, serves until shutdown or the end of input. Returns the exit code.
int run_worker(const WorkerOptions& options, const ModelLoader& load);

}  // namespace pensieve
