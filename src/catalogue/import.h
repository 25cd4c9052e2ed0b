// An MLX or plain safetensors checkpoint folder into one GGUF file of the store.
//
//   Does     Phi-3, Llama, Mistral, Qwen2 and Qwen3. Four-bit affine groups become Q4_1 blocks with the same numbers; the
//            largest difference over all weights is measured and told. Eight-bit ones become Q8_0 (rounded anew: Q8_0
//            has no bias) or, with "f16", halves. Other weights keep their type.
//   Threads  one; memory is a row of one tensor and the tokenizer, whatever the model's size.
//   Errors   not_found, corrupt, invalid_argument: one sentence that names the file and the reason; too_large: the
//            disk. Nothing becomes visible, and what was half-written is removed.
#pragma once

#include <functional>
#include <string>

#include "catalogue/model_store.h"

namespace pensieve {

struct ImportOptions {
  std::string folder;
  std::string name;           // Empty: the folder's.
  std::string source;         // What the store shall say of its origin; empty: the folder's name.
  std::string quantisation;   // Empty: as near to the checkpoint as GGUF has it. f16, bf16, q8_0, or one of the engine's.
  // Quantises a GGUF file into another by the engine (which this process does not have).
  std::function<Result<void>(const std::string& from, const std::string& to, const std::string& type)> quantise;
};

struct ImportReport {
  StoredModel model;
  std::string architecture;
  std::uint64_t tensors = 0;
  std::uint64_t quantised_weights = 0;  // Elements that were in affine groups.
  double error_max = 0;                 // Of those and of all others: |written - meant|, over all weights.
  std::string error_tensor;             // Where that was.
  std::uint64_t overflows = 0;          // Numbers beyond what a half holds; they were written as the largest half.
  std::string overflow_tensor;
  bool has_template = true;
  bool cuts_marks_otherwise = false;    // The engine's way of cutting is the tokenizer's own but for combining marks.
};

Result<ImportReport> import_checkpoint(ModelStore& store, const ImportOptions& options, const std::function<void(std::uint64_t done, std::uint64_t total)>& on_progress);

// The quantisations of `--quant`.
bool known_quantisation(const std::string& name);
bool quantised_by_engine(const std::string& name);

}  // namespace pensieve
