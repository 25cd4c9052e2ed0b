// From settings and a model to a Budget: asks the worker's program what its engine
// would allocate (`pensieve-worker --plan`, some hundredths of a second), and adds up. One process for each KV type:
// the engine ends itself over some models with q8_0 (mixtures whose graph it then finds too large).
#pragma once

#include <string>
#include <vector>

#include "budget/budget.h"

namespace pensieve {

// Runs the worker's program with --plan. A KV type over which it ends is one that the model cannot have.
// Errors: of f16 and q8_0 alike, what it said, or that it said nothing sensible.
Result<ModelNeeds> ask_for_needs(const std::string& worker, const std::string& model, std::uint64_t slots, const std::string& gpu_layers, const std::vector<std::string>& projector);
// The worker's arguments for --mmproj: "" the one beside the model, "off" none, else this file.
std::vector<std::string> projector_arguments(const std::string& mmproj, const std::string& model);

// "4G", "50%", or "" for the derived ceiling.
Result<std::uint64_t> ceiling_from(const std::string& memory);
struct PlanOptions;
// What `serve` would choose for the model at `path`; the same sum for `plan`, `ls` and `show`.
Result<Budget> budget_for(const PlanOptions& options, const std::string& path);
// "3000M,2000M,1000M,500M"; "": what suits the machine.
struct LevelBytes {
  std::uint64_t caution, warning, critical, emergency;
};
Result<LevelBytes> levels_from(const std::string& text);

// A context that nobody asked for is at most this, however much memory --memory allows.
inline constexpr std::uint64_t kContextWantedMax = 32768;

std::string json_of(const Budget& budget);
// What the system holds the worker to, for /health. `folder` empty: no control group, and `problem` says why.
std::string cap_json(const std::string& folder, std::uint64_t group_bytes, std::uint64_t data_bytes, const std::string& problem);
// The worker's program beside this one.
std::string worker_beside(const std::string& own_path);

}  // namespace pensieve
