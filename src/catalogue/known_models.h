// The models people use with coding agents, by short names: where `pull` finds
// them, and what they need. Figures are of the models' published configurations;
// file sizes are about right and only for choosing (the hub says the true ones).
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace pensieve {

struct KnownModel {
  const char* name;
  const char* repository;  // OWNER/REPO on the hub.
  const char* quantisation;
  std::uint64_t bytes;     // About.
  std::uint64_t context;   // Trained.
  const char* licence;
  std::uint64_t kv_bytes_per_token;  // f16, all layers; an upper bound where some keep only a window.

  // Weights and KV cache of one conversation.
  std::uint64_t memory_bytes(std::uint64_t tokens) const { return bytes + kv_bytes_per_token * tokens; }
};

std::span<const KnownModel> known_models();
const KnownModel* find_known_model(const std::string& name);  // nullptr: not known.

}  // namespace pensieve
