// The cells of libllama's KV cache as bytes: read a range of tokens out of a
// sequence, write it into another. What the block store (src/cache) moves.
//
// libllama itself only moves whole sequences, through a buffer as large as they
// are. Two things of its own make a range cheap: the evaluation callback shows the
// cache's tensors, and the state format tells how a sequence's cells are declared.
// Neither is promised by its API, so probe() proves both on the loaded model: the
// bytes read here must be those of the engine's own export, and a sequence put
// together here must export again byte for byte. If not, there is no LlamaKv
// and the store stays off (docs/decisions/0004).
//
//   Owns     nothing of the engine's; the tensors live as long as the context.
//   Threads  the engine thread, between two steps.
//   Units    tokens; the token at index i of a sequence lies in cell i of its stream.
#pragma once

#include <ggml-backend.h>
#include <llama.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"

namespace pensieve {

// Collects the tensors that are named as the KV cache's.
class KvTensorWatch {
 public:
  // To be called for every node before it is computed, from the context's first step on.
  void on_node(ggml_tensor* node);
  const std::vector<ggml_tensor*>& tensors() const { return tensors_; }

 private:
  void look_at(ggml_tensor* tensor);
  std::vector<ggml_tensor*> tensors_;
  bool closed_ = false;
  friend class LlamaKv;
};

class LlamaKv {
 public:
  // Runs one step of two tokens in sequence 0, and forgets it again. Says why when
  // this model's cells cannot be moved. `kernels` names what of ours made them, for the layout; empty: nothing.
  static Result<LlamaKv> probe(llama_context* context, const llama_model* model, KvTensorWatch& watch, std::string_view kernels);

  static constexpr TokenId kNoToken = LLAMA_TOKEN_NULL;
  struct Cell {
    std::int32_t position = 0;
    // Of models with positions in several dimensions:
    std::int32_t column = 0, row = 0;  // of text the position again,
    TokenId token = 0;                 // and what stands there; of a picture kNoToken.
  };

  const KvShape& shape() const { return shape_; }
  bool in_several_dimensions() const { return several_dimensions_; }  // M-RoPE.
  Result<void> claim(SequenceId sequence, std::span<const Cell> cells);
  void read(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const;
  void write(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens);
  // Of a piece, where they lie one after another in plain memory; else empty.
  std::span<std::byte> cells(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count) const;
  // Pages that hold nothing but cells of this sequence. They read as zeros then, which are good cells.
  std::uint64_t give_back(SequenceId sequence) const;

 private:
  struct Piece {  // One layer's keys or values.
    ggml_tensor* tensor = nullptr;
    bool transposed = false;         // Values without flash attention: a row holds one number of every token.
    std::size_t token_bytes = 0;     // Of one token, over all rows.
    std::size_t cell_bytes = 0;      // From one cell to the next: a row, or one number.
    std::size_t rows = 1;            // Transposed: numbers of a token; else 1.
    std::size_t row_stride = 0;      // Transposed: from one number to the next.
    std::vector<std::byte> header;   // What stands before it in an export.
  };
  // Calls `bytes(span)` for what is declared and `data(piece, size)` for what is content, in the order of an export.
  template <typename Bytes, typename Data>
  void describe(SequenceId sequence, std::span<const Cell> cells, const Bytes& bytes, const Data& data) const;

  llama_context* context_ = nullptr;
  std::uint32_t streams_ = 0;
  bool several_dimensions_ = false;
  std::vector<std::byte> preamble_;    // Before the sequence's id.
  std::vector<std::byte> declaration_; // Between the cells and the first piece.
  std::vector<Piece> pieces_;
  KvShape shape_;
};

}  // namespace pensieve
