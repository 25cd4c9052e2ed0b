// Whether a row's results depend on how many rows share its step. They do not where
// every operation of the graph works on each row for itself: norms, rotations, what goes
// number by number, and our own attention and products (whose bits are the same in any
// company). The engine's own products choose their kernel by the number of rows.
//
//   Threads  the engine thread.
#pragma once

#include <ggml.h>

#include <string>

namespace pensieve {

class LlamaRows {
 public:
  // To be called for every node before it is computed, after those that may make it ours.
  void on_node(const ggml_tensor* node);

  void begin() { seen_ = false, other_.clear(); }
  bool all_alone() const { return seen_ && other_.empty(); }
  const std::string& other() const { return other_; }  // An operation that does not, or of which it is not known.

 private:
  bool seen_ = false;
  std::string other_;
};

}  // namespace pensieve
