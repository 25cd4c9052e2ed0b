// The sum of everything that will be resident, before anything is loaded, and the
// choice of context, slots and KV type that makes the sum fit under the ceiling.
//
//   Threads  any: pure functions.
//   Units    bytes; tokens of one slot for contexts.
//   Errors   invalid_argument when nothing fits: its message is the table and the
//            smallest change that would.
//
// Where each figure comes from: weights, KV cache and compute buffers are the
// engine's own (a load without allocating, at some contexts); the work area of its processor backend, which it does not tell, is the
// formula in work_bytes(); the rest are constants measured with the demo model
// and the stand-ins (tests/memory/plan.test.mjs holds the sum against real loads).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct KvNeeds {  // Of one KV type, over all slots that were asked about.
  struct Point {
    double context = 0, kv = 0, compute = 0;
  };
  std::vector<Point> points;      // By rising context of one slot, two at least.
  bool attention_matrix = false;  // Steps weigh all cells for all rows at once.
  bool whole_steps = false;       // An embedding model's input is one step, however long.
  bool whole_states = false;      // Its state goes to the store whole: it cannot be cut in blocks.

  // Never less than the engine's at contexts between or beyond the points, where the KV cache grows by lines that
  // bend down (a layer with a sliding window stops growing at its window) and buffers by lines that bend up.
  double kv_bytes(double context) const;
  double compute_bytes(double context) const;
};

struct ModelNeeds {
  std::uint64_t file_bytes = 0;     // All of it is mapped.
  std::uint64_t process_bytes = 0;  // A worker that has read the vocabulary, nothing else.
  std::uint64_t context_trained = 0;
  std::uint64_t heads = 0;
  std::uint64_t embedding = 0;
  std::uint64_t vocabulary = 0;
  std::uint64_t sight_bytes = 0;    // Of the projector, with what seeing an image takes; 0: it does not see.
  std::uint64_t vector_size = 0;  // It makes embeddings: one input at a time, however many slots; 0: it generates.
  std::uint64_t slots_asked = 1;  // KV and compute below are for so many.
  std::optional<KvNeeds> f16, q8_0;  // Unset: this model cannot have it.
};

// What `pensieve-worker --plan` printed.
Result<ModelNeeds> parse_needs(std::string_view json, std::uint64_t file_bytes, std::uint64_t slots_asked);

struct Wishes {
  std::uint64_t ceiling_bytes = 0;    // Of the whole process tree.
  std::uint64_t context_tokens = 0;   // 0: chosen.
  std::uint64_t context_wanted = 0;   // When chosen: no more than this; 0: what 1 GiB of f16 holds over all slots.
  std::uint64_t slots = 2;
  bool slots_fixed = false;           // False: fewer may be chosen.
  std::string kv_type = "auto";       // auto, f16, q8_0.
  std::uint64_t body_bytes_max = 32u << 20;
  std::uint64_t threads = 1;
};

struct Budget {
  struct Line {
    std::string name;
    std::uint64_t bytes = 0;
    std::string note;
  };
  std::vector<Line> lines;
  std::uint64_t context_tokens = 0;  // Of one slot.
  std::uint64_t slots = 0;
  std::string kv_type;
  std::uint64_t ceiling_bytes = 0;
  std::uint64_t total_bytes = 0;     // Sum of the lines: never above the ceiling.
  std::uint64_t requests_bytes = 0;  // Of the lines: what requests reserve from, one by one.
  std::uint64_t data_bytes_max = 0;  // The worker's cap: its own share of the ceiling, without the mapped weights.

  std::uint64_t worker_bytes_max = 0;  // The same with the weights: for a limit that counts all pages.

  std::string table() const;
};

Result<Budget> make_budget(const ModelNeeds& needs, const Wishes& wishes);

// The ceiling when the user gives none: what is available, less a margin of 1 GB or an eighth of the machine.
std::uint64_t default_ceiling(std::uint64_t available_bytes, std::uint64_t machine_bytes);

}  // namespace pensieve
