#include "engine/llama_kv.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/check.h"

namespace pensieve {
namespace {

// An export of one sequence, as this engine version writes it:
//
//   magic u32 | sequence u32 | streams u32
//   for each stream:  cells u32            0, and nothing more, for those of other sequences
//     cells times:    position i32 | sequences u32 (1) | [column i32 | row i32 | token i32, with positions in several dimensions] | sequence i32
//     values transposed u32 | layers u32 | 8 bytes
//     keys of each layer:    type u32 | row bytes u64 | cells rows
//     values of each layer:  type u32 | row bytes u64 | cells rows
//          or, transposed:   type u32 | number bytes u32 | numbers u32 | numbers rows of cells
constexpr std::size_t kPreambleBytes = 4;
constexpr std::size_t kDeclarationBytes = 16;
constexpr std::size_t kPieceHeaderBytes = 12;
constexpr std::int32_t kProbeTokens = 2;

std::span<const std::byte> bytes_of(const std::uint32_t& word) { return std::as_bytes(std::span(&word, 1)); }

int layer_of(const ggml_tensor* tensor) {
  const std::string_view name = tensor->name;
  const std::string_view digits = name.substr(std::strlen("cache_k_l"));
  int layer = -1;
  std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return layer;
}

bool holds_keys(const ggml_tensor* tensor) { return tensor->name[6] == 'k'; }

// Zeros to read from that cost no memory: pages nobody wrote to are the system's
// one page of zeros. Only the pages that open() names become memory of their own.
class SparseBuffer {
 public:
  explicit SparseBuffer(std::size_t size) : size_(size), base_(::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
#ifdef __linux__
    if (good()) (void)::madvise(base_, size_, MADV_HUGEPAGE);  // Then zeros are found 2 MB at a time; else at 0.3 us for each 4 KiB.
#endif
  }
  ~SparseBuffer() {
    if (good()) ::munmap(base_, size_);
  }
  SparseBuffer(const SparseBuffer&) = delete;
  SparseBuffer& operator=(const SparseBuffer&) = delete;

  bool good() const { return base_ != MAP_FAILED; }
  const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(base_); }
  bool put(std::size_t at, std::span<const std::byte> bytes) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t begin = at / page * page;
    const std::size_t end = std::min((at + bytes.size() + page - 1) / page * page, (size_ + page - 1) / page * page);
    if (::mprotect(static_cast<std::byte*>(base_) + begin, end - begin, PROT_READ | PROT_WRITE) != 0) return false;
    std::memcpy(static_cast<std::byte*>(base_) + at, bytes.data(), bytes.size());
    return true;
  }

 private:
  std::size_t size_;
  void* base_;
};

Error unlike(std::string_view what) {
  return {ErrorCode::unavailable, fmt::format("this engine keeps its KV state another way than expected ({})", what)};
}

}  // namespace

void KvTensorWatch::on_node(ggml_tensor* node) {
  if (closed_) return;
  for (ggml_tensor* source : node->src) {
    if (source != nullptr) look_at(source);
  }
}

void KvTensorWatch::look_at(ggml_tensor* tensor) {
  while (tensor->view_src != nullptr) tensor = tensor->view_src;
  const std::string_view name = tensor->name;
  if (!name.starts_with("cache_k_l") && !name.starts_with("cache_v_l")) return;
  if (std::ranges::find(tensors_, tensor) == tensors_.end()) tensors_.push_back(tensor);
}

template <typename Bytes, typename Data>
void LlamaKv::describe(SequenceId sequence, std::span<const Cell> cells, const Bytes& bytes, const Data& data) const {
  const auto id = static_cast<std::uint32_t>(sequence);
  bytes(preamble_);
  bytes(bytes_of(id));
  bytes(bytes_of(streams_));
  for (std::uint32_t stream = 0; stream < streams_; ++stream) {
    const std::uint32_t count = stream == id ? static_cast<std::uint32_t>(cells.size()) : 0;
    bytes(bytes_of(count));
    if (count == 0) continue;
    std::vector<std::uint32_t> meta;
    meta.reserve(std::size_t{count} * 6);
    for (const Cell& cell : cells) {
      meta.insert(meta.end(), {static_cast<std::uint32_t>(cell.position), 1});
      if (several_dimensions_) meta.insert(meta.end(), {static_cast<std::uint32_t>(cell.column), static_cast<std::uint32_t>(cell.row), static_cast<std::uint32_t>(cell.token)});
      meta.push_back(id);
    }
    bytes(std::as_bytes(std::span(meta)));
    bytes(declaration_);
    for (std::size_t piece = 0; piece < pieces_.size(); ++piece) {
      bytes(pieces_[piece].header);
      data(piece, pieces_[piece].token_bytes * count);
    }
  }
}

Result<LlamaKv> LlamaKv::probe(llama_context* context, const llama_model* model, KvTensorWatch& watch, std::string_view kernels) {
  if (llama_model_is_recurrent(model) || llama_model_is_hybrid(model)) return Error{ErrorCode::unavailable, "the model keeps a recurrent state, which cannot be cut in blocks"};
  if (llama_model_n_swa(model) > 0) return Error{ErrorCode::unavailable, "the model's sliding window cannot be cut in blocks"};
  if (llama_model_has_encoder(model)) return Error{ErrorCode::unavailable, "the model has an encoder"};

  const auto token_at = [model](std::int32_t i) { return std::min(llama_vocab_n_tokens(llama_model_get_vocab(model)) - 1, i + 1); };
  llama_memory_t memory = llama_get_memory(context);
  llama_batch batch = llama_batch_init(kProbeTokens, 0, 1);
  batch.n_tokens = kProbeTokens;
  for (std::int32_t i = 0; i < kProbeTokens; ++i) {
    batch.token[i] = token_at(i);
    batch.pos[i] = i;
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = i + 1 == kProbeTokens ? 1 : 0;
  }
  const std::int32_t code = llama_decode(context, batch);
  llama_batch_free(batch);
  watch.closed_ = true;
  if (code != 0) return Error{ErrorCode::internal, fmt::format("the engine failed its first step (code {})", code)};

  LlamaKv kv;
  kv.context_ = context;
  kv.streams_ = llama_n_seq_max(context);
  const enum llama_rope_type rope = llama_model_rope_type(model);
  kv.several_dimensions_ = rope == LLAMA_ROPE_TYPE_MROPE || rope == LLAMA_ROPE_TYPE_IMROPE;
  if (kv.several_dimensions_) kv.shape_.layout = "several dimensions;";
  if (!kernels.empty()) kv.shape_.layout += fmt::format("{};", kernels);
  std::vector<ggml_tensor*> tensors = watch.tensors();
  std::ranges::sort(tensors, [](const ggml_tensor* a, const ggml_tensor* b) {
    return std::pair(!holds_keys(a), layer_of(a)) < std::pair(!holds_keys(b), layer_of(b));
  });
  const auto forget_all = [&] {
    llama_memory_seq_rm(memory, 0, -1, -1);
    if (kv.streams_ > 1) llama_memory_seq_rm(memory, 1, -1, -1);
  };
  const auto fail = [&](std::string_view what) {
    forget_all();
    return unlike(what);
  };
  if (tensors.empty()) return fail("no cache tensors");

  // The engine's own export of those two tokens, taken apart.
  std::vector<std::byte> whole(llama_state_seq_get_size(context, 0));
  const std::size_t size = llama_state_seq_get_data(context, reinterpret_cast<std::uint8_t*>(whole.data()), whole.size(), 0);
  const std::size_t first_declaration = kPreambleBytes + 12 + (kv.several_dimensions_ ? 24 : 12) * kProbeTokens;
  if (size != whole.size() || size < first_declaration + kDeclarationBytes) return fail("its size");
  const auto word = [&](std::size_t at) {
    std::uint32_t value = 0;
    std::memcpy(&value, whole.data() + at, sizeof(value));
    return value;
  };
  kv.preamble_.assign(whole.begin(), whole.begin() + kPreambleBytes);
  kv.declaration_.assign(whole.begin() + first_declaration, whole.begin() + first_declaration + kDeclarationBytes);
  const bool transposed = word(first_declaration) == 1;
  if (std::size_t{word(first_declaration + 4)} * 2 != tensors.size()) return fail("its layers");
  std::size_t at = first_declaration + kDeclarationBytes;
  for (ggml_tensor* tensor : tensors) {
    Piece piece;
    piece.tensor = tensor;
    piece.transposed = transposed && !holds_keys(tensor);
    if (tensor->ne[2] != kv.streams_ || at + kPieceHeaderBytes > size) return fail(tensor->name);
    piece.header.assign(whole.begin() + static_cast<std::ptrdiff_t>(at), whole.begin() + static_cast<std::ptrdiff_t>(at + kPieceHeaderBytes));
    piece.token_bytes = tensor->nb[1];
    piece.cell_bytes = piece.transposed ? tensor->nb[0] : tensor->nb[1];
    if (piece.transposed) {
      piece.rows = static_cast<std::size_t>(tensor->ne[0]);
      piece.row_stride = static_cast<std::size_t>(tensor->ne[1]) * tensor->nb[0];
    }
    kv.shape_.piece_token_bytes.push_back(piece.token_bytes);
    kv.shape_.layout += fmt::format("{}{}{}:{};", tensor->name, piece.transposed ? "^" : "", ggml_type_name(tensor->type), piece.token_bytes);
    at += kPieceHeaderBytes + piece.token_bytes * kProbeTokens;
    kv.pieces_.push_back(std::move(piece));
  }

  // Read here, and compared with what the engine says.
  std::vector<std::byte> made;
  made.reserve(size);
  std::vector<Cell> probed;
  for (std::int32_t i = 0; i < kProbeTokens; ++i) probed.push_back({i, i, i, token_at(i)});
  const auto take_part = [&](SequenceId sequence) {
    made.clear();
    kv.describe(
        sequence, probed, [&](std::span<const std::byte> bytes) { made.insert(made.end(), bytes.begin(), bytes.end()); },
        [&](std::size_t piece, std::size_t bytes) {
          made.resize(made.size() + bytes);
          kv.read(sequence, piece, 0, kProbeTokens, std::span(made).last(bytes));
        });
  };
  take_part(SequenceId{0});
  if (made != whole) return fail("its export differs from its tensors");

  // Written into another sequence, or back into the first where there is but one.
  const SequenceId target{kv.streams_ > 1 ? 1 : 0};
  forget_all();
  if (!kv.claim(target, probed)) return fail("it does not take a sequence back");
  std::size_t from = first_declaration + kDeclarationBytes;
  for (std::size_t piece = 0; piece < kv.pieces_.size(); ++piece) {
    from += kPieceHeaderBytes;
    const std::size_t bytes = kv.pieces_[piece].token_bytes * kProbeTokens;
    kv.write(target, piece, 0, kProbeTokens, std::span(whole).subspan(from, bytes), kProbeTokens);
    from += bytes;
  }
  std::vector<std::byte> again(llama_state_seq_get_size(context, static_cast<llama_seq_id>(target)));
  llama_state_seq_get_data(context, reinterpret_cast<std::uint8_t*>(again.data()), again.size(), static_cast<llama_seq_id>(target));
  take_part(target);
  std::vector<std::byte> expected;
  std::size_t read_at = 0;
  kv.describe(
      target, probed,
      [&](std::span<const std::byte> bytes) {
        expected.insert(expected.end(), bytes.begin(), bytes.end());
        read_at += bytes.size();
      },
      [&](std::size_t, std::size_t bytes) {
        // Streams before the target's shift the place where content begins.
        const std::size_t source = read_at - 4 * static_cast<std::size_t>(target);
        expected.insert(expected.end(), whole.begin() + static_cast<std::ptrdiff_t>(source), whole.begin() + static_cast<std::ptrdiff_t>(source + bytes));
        read_at += bytes;
      });
  if (again != made || again != expected) return fail("a sequence put together again differs");
  forget_all();
  return kv;
}

Result<void> LlamaKv::claim(SequenceId sequence, std::span<const Cell> cells) {
  std::size_t size = 0;
  describe(sequence, cells, [&](std::span<const std::byte> bytes) { size += bytes.size(); }, [&](std::size_t, std::size_t bytes) { size += bytes; });
  SparseBuffer buffer(size);
  bool good = buffer.good();
  std::size_t at = 0;
  if (good) {
    describe(
        sequence, cells,
        [&](std::span<const std::byte> bytes) {
          good = good && buffer.put(at, bytes);
          at += bytes.size();
        },
        [&](std::size_t, std::size_t bytes) { at += bytes; });
  }
  if (!good) return Error{ErrorCode::overloaded, "no address space to restore a sequence"};
  const std::size_t taken = llama_state_seq_set_data(context_, buffer.data(), size, static_cast<llama_seq_id>(sequence));
  if (taken != size) return Error{ErrorCode::internal, "the engine did not take a restored sequence"};
  return {};
}

void LlamaKv::read(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const {
  const Piece& p = pieces_[piece];
  const auto cells = static_cast<std::size_t>(count);
  CHECK(out.size() == p.token_bytes * cells, "a piece is read whole");
  const std::size_t offset = static_cast<std::size_t>(sequence) * p.tensor->nb[2] + static_cast<std::size_t>(begin) * p.cell_bytes;
  if (p.transposed) ggml_backend_tensor_get_2d(p.tensor, out.data(), offset, cells * p.cell_bytes, p.rows, p.row_stride, cells * p.cell_bytes);
  else ggml_backend_tensor_get(p.tensor, out.data(), offset, out.size());
}

void LlamaKv::write(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) {
  const Piece& p = pieces_[piece];
  const auto cells = static_cast<std::size_t>(count);
  CHECK(count <= from_tokens && from.size() == p.token_bytes * static_cast<std::size_t>(from_tokens), "a piece is written from its beginning");
  const std::size_t offset = static_cast<std::size_t>(sequence) * p.tensor->nb[2] + static_cast<std::size_t>(begin) * p.cell_bytes;
  if (p.transposed) ggml_backend_tensor_set_2d(p.tensor, from.data(), offset, cells * p.cell_bytes, p.rows, p.row_stride, static_cast<std::size_t>(from_tokens) * p.cell_bytes);
  else ggml_backend_tensor_set(p.tensor, from.data(), offset, cells * p.token_bytes);
}

std::span<std::byte> LlamaKv::cells(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count) const {
  const Piece& p = pieces_[piece];
  if (p.transposed || p.tensor->buffer == nullptr || !ggml_backend_buffer_is_host(p.tensor->buffer)) return {};
  const std::size_t offset = static_cast<std::size_t>(sequence) * p.tensor->nb[2] + static_cast<std::size_t>(begin) * p.cell_bytes;
  return {static_cast<std::byte*>(p.tensor->data) + offset, static_cast<std::size_t>(count) * p.token_bytes};
}

std::uint64_t LlamaKv::give_back(SequenceId sequence) const {
#ifdef __linux__
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  std::uint64_t bytes = 0;
  for (const Piece& p : pieces_) {
    if (p.tensor->buffer == nullptr || !ggml_backend_buffer_is_host(p.tensor->buffer)) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(p.tensor->data) + static_cast<std::uintptr_t>(sequence) * p.tensor->nb[2];
    const std::uintptr_t first = (begin + page - 1) / page * page;
    const std::uintptr_t last = (begin + p.tensor->nb[2]) / page * page;
    if (first >= last || ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED) != 0) continue;
    bytes += last - first;
  }
  return bytes;
#else
  (void)sequence;  // Elsewhere MADV_DONTNEED promises nothing.
  return 0;
#endif
}

}  // namespace pensieve
