// The lines between server and worker: one JSON object a line, UTF-8, newline at
// the end. docs/wire.md is the specification; this is its only implementation,
// used by both sides.
//
//   Owns     nothing; values in, lines out, and back.
//   Threads  any: pure functions.
//   Errors   parse_*() names the field and what was expected. A line that does
//            not parse changes nothing on either side.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/pace.h"
#include "core/request.h"
#include "core/stream_event.h"

namespace pensieve::wire {

inline constexpr int kProtocolVersion = 2;
// A prompt of a million tokens fits; more is a broken peer.
inline constexpr std::size_t kLineBytesMax = 64u << 20;

// ---- server to worker ----

struct Count {  // Render and tokenise, nothing else. Never waits for the engine.
  RequestId id{};
  Prompt prompt;
  bool wants_tokens = false;  // Send the token ids back, not only their number.
  bool operator==(const Count&) const = default;
};
struct Generate {
  GenerateRequest request;
  bool operator==(const Generate&) const = default;
};
struct Embed {  // To a model that makes embeddings.
  EmbedRequest request;
  bool operator==(const Embed&) const = default;
};
struct Cancel {  // Answered by the request's `finish`, reason cancelled; unknown ids are ignored.
  RequestId id{};
  bool operator==(const Cancel&) const = default;
};
struct Pause {  // The client reads too slowly: keep the slot, take no more steps for it.
  RequestId id{};
  bool operator==(const Pause&) const = default;
};
struct Resume {
  RequestId id{};
  bool operator==(const Resume&) const = default;
};
struct Health {
  bool operator==(const Health&) const = default;
};
struct Memory {  // What the machine has left, at each change: safe, caution, warning, critical, emergency.
  std::string level;
  bool operator==(const Memory&) const = default;
};
struct Shutdown {  // Cancel what runs, then exit 0. The end of stdin means: finish what runs, then exit 0.
  bool operator==(const Shutdown&) const = default;
};

using Command = std::variant<Count, Generate, Embed, Cancel, Pause, Resume, Health, Memory, Shutdown>;

std::string encode(const Command& command);  // With the newline.
Result<Command> parse_command(std::string_view line);

// ---- worker to server ----

struct Hello {  // The first line, before the model is loaded.
  int protocol = kProtocolVersion;
  std::string worker_version;
  std::string engine_version;
  bool operator==(const Hello&) const = default;
};
struct Loading {
  double progress = 0;  // 0 to 1.
  bool operator==(const Loading&) const = default;
};
struct ModelFacts {
  std::string name;
  std::string architecture;
  std::uint64_t parameters = 0;
  std::uint64_t file_bytes = 0;
  std::int32_t context_trained = 0;  // Tokens.
  std::int32_t vocabulary = 0;       // Tokens.
  bool operator==(const ModelFacts&) const = default;
};
struct Ready {  // Loaded: generate is answered from now on.
  ModelFacts model;
  std::int32_t slots = 0;
  std::int32_t context_tokens = 0;  // A slot's room: prompt and answer together.
  std::uint64_t kv_bytes = 0;
  std::string backends;  // The devices that compute, comma-separated.
  std::string chat_template;  // "model", or the built-in's name.
  std::string tool_syntax;    // The family of its calls.
  bool thinks = false;        // Its template knows thinking.
  bool exact = false;         // The same request gives the same tokens, cold or warm, alone or not.
  std::string store;          // The block store's folder; empty: there is none, and
  std::string store_problem;  // this says why.
  bool sees = false;          // It takes images.
  std::string proof;          // EngineFacts::proof: the next worker's --proof.
  std::int32_t vector_size = 0;  // It makes embeddings, of so many numbers, and generates nothing; 0: it generates.
  std::string pooling;           // How it makes one vector of all its rows: mean, cls or last; empty: it generates.
  bool operator==(const Ready&) const = default;
};
struct Counted {
  RequestId id{};
  std::int32_t input_tokens = 0;
  std::vector<TokenId> tokens;
  std::string opening;  // See GenerateRequest::opening; goes with the tokens. So does
  std::string origin;   // GenerateRequest::origin.
  std::vector<std::int32_t> marks;  // GenerateRequest::marks.
  std::vector<EmbedInput> inputs;   // Those of the prompt, as tokens.
  bool operator==(const Counted&) const = default;
};
struct Event {  // Something happened to a request. Failed too answers a Count that could not be done.
  RequestId id{};
  StreamEvent event;
};
struct KvFacts {  // What was reused, and what the block store holds. Counted since the worker's start.
  std::uint64_t tokens_from_slots = 0;
  std::uint64_t tokens_from_store = 0;
  std::uint64_t store_blocks = 0;
  std::uint64_t store_bytes = 0;
  std::uint64_t store_blocks_written = 0;
  std::uint64_t store_blocks_read = 0;
  std::uint64_t store_blocks_evicted = 0;
  std::uint64_t store_blocks_set_aside = 0;
  std::uint64_t store_bytes_written_today = 0;
  std::uint64_t answers_recognised = 0;  // In prompts, and taken as they were sampled.
  std::uint64_t store_pending = 0;  // Slots of which something will be stored yet.
  std::string store_problem;  // Why nothing is written; empty: it is.
  std::uint64_t bytes_given_back = 0;  // Memory of free slots that the system has, because it is short of it.
  bool exact_tried = false;    // The self-check was done, and
  std::string exact_differs;   // this is what it saw; empty: the same logits in all conditions.
  bool operator==(const KvFacts&) const = default;
};
struct HealthReport {
  std::string state;  // "loading", "ready".
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::uint64_t steps = 0;  // Engine steps finished since the start; grows while work is due.
  std::uint64_t pulse = 0;  // Parts of steps finished, where the engine tells; grows within a long step.
  KvFacts kv;
  Pace pace;
  bool operator==(const HealthReport&) const = default;
};
struct Fatal {  // The worker's last word before it exits: why.
  Error error;
};

using Report = std::variant<Hello, Loading, Ready, Counted, Event, HealthReport, Fatal>;

std::string encode(const Report& report);  // With the newline. Ill-formed UTF-8 becomes U+FFFD.
Result<Report> parse_report(std::string_view line);

}  // namespace pensieve::wire
