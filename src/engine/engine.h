// The model behind an interface: token rows in, logits out (Engine); of a model that
// makes embeddings whole inputs in, a vector out (Embedder). The llama_* files run a
// real model through libllama, FakeEngine and FakeEmbedder a script; nothing above this
// folder knows which.
//
//   Owns     weights, KV cache, compute buffers.
//   Threads  vocabulary(), facts(), kv_shape() and pulse() may be read from any; everything
//            else belongs to the engine thread.
//   Units    positions in tokens from 0; logits one float for each vocabulary entry.
//   Errors   after a failed step() the KV cache of the sequences in it is in doubt:
//            forget() them. `internal` with "poisoned" in it: the process must end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/request.h"

namespace pensieve {

// Text to tokens and back. Immutable once loaded: any thread, at any time.
class Vocabulary {
 public:
  virtual ~Vocabulary() = default;
  // Markers such as <|user|> that stand in `text` become their control tokens.
  virtual Result<std::vector<TokenId>> tokenise(std::string_view text, bool add_begin) const = 0;
  // The bytes a token stands for, perhaps part of a character; empty for control tokens.
  virtual std::string piece(TokenId token) const = 0;
  virtual std::string control_text(TokenId token) const = 0;  // As it is written in a template; "" for none.
  virtual bool ends_turn(TokenId token) const = 0;
  virtual std::int32_t size() const = 0;
  virtual TokenId begin_token() const = 0;  // -1: the model has none.
  virtual TokenId end_token() const = 0;    // -1: the model has none.
  virtual bool adds_begin() const = 0;      // Whether a prompt starts with begin_token().
  // Of the marks that stand in `sample` those in front of which any text may be cut: the tokens of the parts, one after
  // the other, are those of the whole, and begin_token() is set before them by itself. Empty: it is not known where.
  virtual std::vector<std::string> cut_marks(std::string_view) const { return {}; }
  // Whether a text may be cut in front of text[at], too: of a space between two words. What follows there
  // is tokenised by tokenise_behind().
  virtual bool cuts_at(std::string_view, std::size_t) const { return false; }
  virtual Result<std::vector<TokenId>> tokenise_behind(std::string_view part) const { return tokenise(part, false); }
};

struct EngineFacts {
  std::string name;
  std::string architecture;
  std::string chat_template;  // Jinja source; empty when the model brings none.
  std::string backends;       // Devices that compute, comma-separated.
  std::string kernels;        // Which of ours stand in its graph ("attention avx512, products avx512-vnni"); "": none.
  std::string proof;          // That they were tried: for EngineOptions::proof of the next process that loads the same.
  // What a row gives does not depend, bit for bit, on how many rows share its step; else the rules of
  // docs/decisions/0002 are needed for that.
  bool rows_alone = false;
  std::uint64_t parameters = 0;
  std::uint64_t file_bytes = 0;
  std::uint64_t kv_bytes = 0;       // All slots together.
  std::int32_t context_trained = 0;
  std::int32_t context_tokens = 0;  // Room of one slot.
  std::int32_t slots = 0;
  std::int32_t step_rows_max = 0;   // Rows one step may hold.
  Sampling defaults;                // What the model file recommends.
  // Of an Embedder: how many numbers a vector has, and how one is made of all rows ("mean", "cls", "last").
  std::int32_t vector_size = 0;
  std::string pooling;
};

// What every loaded model has.
class Model {
 public:
  virtual ~Model() = default;
  virtual const EngineFacts& facts() const = 0;
  virtual const Vocabulary& vocabulary() const = 0;
  // Counts parts of steps, so that a long step is told from a hung one. 0: the engine does not tell.
  virtual std::uint64_t pulse() const { return 0; }
};

// A model that makes vectors of texts, and generates nothing. It holds one input at a time, so that no other has a
// share in its bits (docs/decisions/0013).
class Embedder : public Model {
 public:
  // Reads on in `input`, of which `begin` tokens were read before (0: another input is begun). Says how many are now: all,
  // or as many as one step holds. An input has 1 to context_tokens tokens.
  virtual Result<std::int32_t> read(std::span<const TokenId> input, std::int32_t begin) = 0;
  virtual std::span<const float> vector() const = 0;  // Of the input that was read to its end last; of any length.
};

// One token to run through the model.
struct Row {
  SequenceId sequence{};
  std::int32_t position = 0;  // Its place among the sequence's tokens, rows of pictures among them.
  TokenId token = 0;
  bool wants_logits = false;
};

// Picks the next token of one sequence from its logits. Greedy at temperature 0;
// otherwise the draw is a pure function of (seed, index of the generated token),
// so a sequence can be continued elsewhere by accept()ing what it already said.
//
// Under a grammar the pick is made freely first and looked at: if the grammar
// allows it, it stands, and costs next to nothing. If not, it is made once more,
// among the tokens that the grammar allows, with another number drawn from the same
// (seed, index). So a token has its free probability, plus its share under the
// grammar of what was refused; and the pick stays a pure function of (logits, seed,
// tokens said before).
class Sampler {
 public:
  virtual ~Sampler() = default;
  virtual TokenId sample(std::span<const float> logits) = 0;
  virtual void accept(TokenId token) = 0;  // Tells it what was said; once for every token.
};

// What images become in a prompt. Only where the model has a projector.
//
//   Threads  any.
//   Errors   invalid_argument: half a sentence about the image.
class Sight {
 public:
  virtual ~Sight() = default;
  // The tokens that stand for an image: its rows (core/picture_token.h), perhaps in parts, and what the model wants to
  // read around them. Only the file's head is looked at.
  virtual Result<std::vector<TokenId>> tokens_of(std::string_view image) const = 0;
  virtual Result<void> check(std::string_view image) const = 0;  // Whether all of it can be read.
};

// How the KV state of a sequence is cut: in pieces (one layer's keys, one layer's
// values, ...), each holding so many bytes of every token. What lies where inside a
// piece is the engine's own affair; `layout` names it, for fingerprints.
struct KvShape {
  std::vector<std::size_t> piece_token_bytes;
  std::string layout;
};

class Engine : public Model {
 public:
  virtual Result<void> step(std::span<const Row> rows) = 0;
  virtual std::span<const float> logits(std::size_t row) const = 0;  // Of a row of the last step that wanted them.
  virtual void forget(SequenceId sequence, std::int32_t from_position) = 0;  // Drops [from_position, end).
  virtual const Sight* sight() const { return nullptr; }
  // Runs all rows of a part of an image, from `position` on. Only where there is sight().
  virtual Result<void> see(SequenceId, std::int32_t /*position*/, std::string_view /*image*/, std::int32_t /*part*/) { return Error{ErrorCode::internal, "this model cannot see"}; }
  // invalid_argument: the grammar is none. Without one (nullptr) it does not fail.
  virtual Result<std::unique_ptr<Sampler>> make_sampler(const Sampling& sampling, const Grammar* grammar) = 0;

  // ---- moving KV state; only where kv_shape() is not null ----

  virtual const KvShape* kv_shape() const = 0;
  virtual std::string kv_problem() const = 0;  // Why there is none, and no whole states, for a human.
  // `sequence` now has cells for these tokens, of no meaning until each is written. What it held before is gone. On an
  // error it is empty: for pictures that were not looked at by this process (Sight::tokens_of()) it cannot, with some models.
  virtual Result<void> claim_kv(SequenceId sequence, std::span<const TokenId> tokens) = 0;
  // One piece of the tokens [begin, begin + count).
  virtual void read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const = 0;
  // Where the cells of such a piece lie, one after another, in this process' memory; empty: they do not. Until the next call
  // that is not const, but for those that move KV state.
  virtual std::span<std::byte> kv_cells(SequenceId, std::size_t /*piece*/, std::int32_t /*begin*/, std::int32_t /*count*/) { return {}; }
  // The memory of a sequence that was forgotten whole goes back to the system until its cells are
  // written again; so many bytes. 0: this engine cannot.
  virtual std::uint64_t give_back_kv(SequenceId) { return 0; }
  // The first `count` tokens of a piece that was read with `from_tokens` tokens.
  virtual void write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t from_tokens) = 0;

  // ---- whole states: of models whose state cannot be cut (kv_shape() is null) ----
  // A sequence of such a model is forgotten whole, and a state stands for all tokens that were run.

  // What a state's bytes depend on beside model and engine, for fingerprints; empty: there are none.
  virtual std::string state_layout() const { return {}; }
  // States after a multiple of so many tokens compute on bit for bit; others may differ in the last bits.
  virtual std::int32_t state_grain() const { return 1; }
  virtual std::size_t state_bytes(SequenceId) const { return 0; }
  virtual Result<void> save_state(SequenceId, std::span<std::byte>) const { return Error{ErrorCode::unavailable, "no whole states"}; }  // state_bytes() of them.
  // What the sequence held is gone. On an error it is empty.
  virtual Result<void> load_state(SequenceId, std::span<const std::byte>) { return Error{ErrorCode::unavailable, "no whole states"}; }
};

// How keys and values are kept; q8_0 halves them (docs/decisions/0007).
enum class KvType { f16, q8_0 };

struct EngineOptions {
  std::string model_path;
  std::int32_t slots = 2;
  std::int32_t context_tokens = 0;  // For each slot; 0: what the model was trained for, at most 8,192.
  std::int32_t threads = 0;         // 0: see platform/cores.h.
  std::int32_t gpu_layers = -1;     // -1: all that fit on a GPU backend, if there is one.
  KvType kv_type = KvType::f16;
  std::string projector_path;  // What makes it see (a GGUF, "mmproj"); empty: it does not.
  // EngineFacts::proof of a process before this one. It counts for the same program, engine and model file, and spares
  // trying again: some 50 tokens, seconds for a large model in which a stream may be waiting.
  std::string proof;
  bool projector_optional = false;  // One that cannot be used is warned of, and the model does not see.
};

// What a load would allocate, by the engine's own sums. The weights are not read.
struct EngineVariant {
  KvType kv_type = KvType::f16;
  std::int32_t context_tokens = 0;  // Of one slot.
};
struct EngineNeeds {
  KvType kv_type = KvType::f16;
  std::int32_t context_tokens = 0;  // Room of one slot.
  std::uint64_t kv_bytes = 0;       // All slots, recurrent state included.
  std::uint64_t compute_bytes = 0;  // Graph and output buffers.
  bool attention_matrix = false;    // Steps weigh all cells for all rows at once.
  bool whole_states = false;        // Its state cannot be cut in blocks: sliding window, recurrent, hybrid.
  std::int32_t context_trained = 0;
  std::int32_t heads = 0;
  std::int32_t embedding = 0;
  std::int32_t vocabulary = 0;
  std::uint64_t sight_bytes = 0;    // Of the projector: weights, compute buffers, an image being read.
  std::int32_t vector_size = 0;     // Of a model that makes embeddings; KV cache and context are those of one input.
  bool whole_steps = false;         // Such a model's input is one step, however long.
};
// One entry for each variant that this model can have.
Result<std::vector<EngineNeeds>> plan_llama_model(const EngineOptions& options, std::span<const EngineVariant> variants);

// Loads a GGUF, as what its file says that it is. `on_progress` is called now and then with 0 to 1, on this thread.
using LoadedModel = std::variant<std::unique_ptr<Engine>, std::unique_ptr<Embedder>>;
Result<LoadedModel> load_llama_model(const EngineOptions& options, const std::function<void(double)>& on_progress);
// Of a model that generates; another is an error.
Result<std::unique_ptr<Engine>> load_llama_engine(const EngineOptions& options, const std::function<void(double)>& on_progress);
std::string llama_engine_version();
// Called when the engine gives up (it aborts the process afterwards); it may not return to a state that goes on.
void on_llama_abort(void (*callback)(bool out_of_memory, const char* message));

}  // namespace pensieve
