// Images through libmtmd, the engine's own multimodal library (docs/decisions/0012):
// a projector file beside the model turns a picture into rows of the model's input.
//
// Not taken: projectors for sound.
//
//   Owns     the projector: its weights and buffers; how the pictures looked at lately lie.
//   Threads  tokens_of() and check() from any; see() from the engine's. One image is decoded at a time.
#pragma once

#include <llama.h>
#include <mtmd.h>

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "engine/engine.h"

namespace pensieve {

struct SightOptions {
  std::string path;
  std::int32_t threads = 0;
  bool gpu = false;
  std::int32_t rows_max = 0;  // Of one step.
};

class LlamaSight final : public Sight {
 public:
  // Of its weights, compute buffers and an image being read. Only the file's head is read: whether it fits the model
  // shows when it is loaded.
  static Result<std::uint64_t> bytes_needed(const SightOptions& options);
  // `pulse` counts the nodes of its graphs. `model` and `pulse` must outlive it.
  static Result<std::unique_ptr<LlamaSight>> load(const SightOptions& options, const llama_model* model, std::atomic<std::uint64_t>* pulse);

  Result<std::vector<TokenId>> tokens_of(std::string_view image) const override;
  Result<void> check(std::string_view image) const override;
  // How a picture lies: rows of so many columns, one after the other; and how far positions go on behind it.
  struct Grid {
    std::int32_t rows = 0, width = 0, positions = 0;
  };
  Result<Grid> see(llama_context* context, SequenceId sequence, llama_pos position, std::string_view image, std::int32_t part);
  bool in_several_dimensions() const { return mtmd_decode_use_mrope(context_.get()); }  // M-RoPE.
  // Of the picture that `rows` begins with, if tokens_of() saw it lately.
  std::optional<Grid> grid_of(std::span<const TokenId> rows) const;

 private:
  struct Deleter {
    void operator()(mtmd_context* context) const { mtmd_free(context); }
    void operator()(mtmd_bitmap* bitmap) const { mtmd_bitmap_free(bitmap); }
    void operator()(mtmd_input_chunks* chunks) const { mtmd_input_chunks_free(chunks); }
  };
  using Context = std::unique_ptr<mtmd_context, Deleter>;
  using Chunks = std::unique_ptr<mtmd_input_chunks, Deleter>;

  LlamaSight(Context context, SightOptions options) : context_(std::move(context)), options_(std::move(options)) {}
  // The image as the library cuts it; `whole`: decoded, not only counted.
  Result<Chunks> chunks_of(std::string_view image, bool whole) const;

  Context context_;
  SightOptions options_;
  mutable Mutex decoding_;
  mutable Mutex grids_mutex_;
  mutable std::map<std::vector<TokenId>, Grid> grids_ GUARDED_BY(grids_mutex_);  // By the first kPictureRowsMin ids.
};

}  // namespace pensieve
