#include "engine/llama_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace pensieve {
namespace {

constexpr std::int32_t kProbeTokens = 12;

llama_seq_id id_of(SequenceId sequence) { return static_cast<llama_seq_id>(sequence); }

bool step(llama_context* context, std::int32_t vocabulary, llama_seq_id sequence, std::int32_t begin, std::int32_t count) {
  llama_batch batch = llama_batch_init(count, 0, 1);
  batch.n_tokens = count;
  for (std::int32_t i = 0; i < count; ++i) {
    batch.token[i] = static_cast<llama_token>((std::int64_t{begin + i} * 7919 + 1) % vocabulary);
    batch.pos[i] = begin + i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = sequence;
    batch.logits[i] = i + 1 == count ? 1 : 0;
  }
  const bool done = llama_decode(context, batch) == 0;
  llama_batch_free(batch);
  return done;
}

}  // namespace

std::size_t llama_state_bytes(llama_context* context, SequenceId sequence) { return llama_state_seq_get_size(context, id_of(sequence)); }

Result<void> save_llama_state(llama_context* context, SequenceId sequence, std::span<std::byte> out) {
  const std::size_t size = llama_state_seq_get_data(context, reinterpret_cast<std::uint8_t*>(out.data()), out.size(), id_of(sequence));
  if (size != out.size()) return Error{ErrorCode::internal, fmt::format("the engine gave {} bytes of a state of {}", size, out.size())};
  return {};
}

Result<void> load_llama_state(llama_context* context, SequenceId sequence, std::span<const std::byte> state) {
  llama_memory_t memory = llama_get_memory(context);
  llama_memory_seq_rm(memory, id_of(sequence), -1, -1);
  const std::size_t size = llama_state_seq_set_data(context, reinterpret_cast<const std::uint8_t*>(state.data()), state.size(), id_of(sequence));
  if (size == state.size()) return {};
  llama_memory_seq_rm(memory, id_of(sequence), -1, -1);
  return Error{ErrorCode::corrupt, fmt::format("the engine took {} bytes of a state of {}", size, state.size())};
}

Result<void> probe_llama_states(llama_context* context, const llama_model* model) {
  if (llama_model_has_encoder(model)) return Error{ErrorCode::unavailable, "the model has an encoder"};
  const std::int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  const SequenceId from{0}, to{llama_n_seq_max(context) > 1 ? 1 : 0};
  const auto forget = [&](SequenceId sequence) { llama_memory_seq_rm(llama_get_memory(context), id_of(sequence), -1, -1); };
  const auto fail = [&](std::string why) -> Result<void> {
    forget(from);
    forget(to);
    return Error{ErrorCode::unavailable, std::move(why)};
  };
  const auto logits_after = [&](SequenceId sequence) -> std::vector<float> {
    if (!step(context, vocabulary, id_of(sequence), kProbeTokens, 1)) return {};
    const float* last = llama_get_logits_ith(context, -1);
    return {last, last + vocabulary};
  };

  if (!step(context, vocabulary, id_of(from), 0, kProbeTokens)) return fail("the engine failed its first step");
  std::vector<std::byte> state(llama_state_bytes(context, from));
  if (const Result<void> saved = save_llama_state(context, from, state); state.empty() || !saved) return fail("its state cannot be read");
  const std::vector<float> meant = logits_after(from);
  forget(from);
  if (const Result<void> loaded = load_llama_state(context, to, state); !loaded) return fail("its state cannot be put back: " + loaded.error().message);
  const std::vector<float> again = logits_after(to);
  if (meant.empty() || again.empty()) return fail("the engine failed its first steps");
  if (!std::ranges::equal(meant, again)) return fail("a state that was put back gives other logits");
  forget(from);
  forget(to);
  return {};
}

}  // namespace pensieve
