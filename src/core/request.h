// The shared nouns: what a client asked for and what comes back, free of any
// wire format. Plain values; whoever holds one owns it.
//
//   Units    tokens unless a name says bytes; positions count from 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace pensieve {

using TokenId = std::int32_t;

// One client request, for its whole life; unique while the server runs, never 0.
enum class RequestId : std::uint64_t {};
// One sequence of tokens in the engine's KV cache; 0 up to slots - 1.
enum class SequenceId : std::int32_t {};

enum class Role { system, user, assistant };

// ---- what a message is made of ----

struct TextContent {
  std::string text;
  bool operator==(const TextContent&) const = default;
};
struct ThinkingContent {  // What an assistant thought before it spoke.
  std::string text;
  std::string signature;  // As the client gave it back; empty is fine.
  bool operator==(const ThinkingContent&) const = default;
};
struct ToolUseContent {  // A call that an assistant made.
  std::string id;
  std::string name;
  std::string input;  // A JSON object, as text.
  bool operator==(const ToolUseContent&) const = default;
};
struct ImageContent {
  std::int32_t image = 0;  // Index into Prompt::images.
  bool operator==(const ImageContent&) const = default;
};
struct ToolResultContent {
  std::string tool_use_id;
  std::string text;
  bool is_error = false;
  std::vector<std::string> tool_references = {};  // Names of deferred tools that this result brings in.
  struct Image {
    std::uint32_t offset = 0;  // Where in `text` it stands.
    std::int32_t image = 0;    // Index into Prompt::images.
    bool operator==(const Image&) const = default;
  };
  std::vector<Image> images = {};  // In order.
  bool operator==(const ToolResultContent&) const = default;
};

struct Block {
  std::variant<TextContent, ThinkingContent, ToolUseContent, ToolResultContent, ImageContent> content;
  bool cache_mark = false;  // The client marked the prefix up to and with this block as worth keeping. Never rendered.

  bool operator==(const Block&) const = default;
};

struct Message {
  Role role = Role::user;
  std::vector<Block> blocks;

  Message() = default;
  Message(Role from, std::vector<Block> made_of) : role(from), blocks(std::move(made_of)) {}
  Message(Role from, std::string text) : role(from), blocks{Block{TextContent{std::move(text)}}} {}

  // All its text blocks, with an empty line between two.
  std::string text() const {
    std::string all;
    for (const Block& block : blocks) {
      const auto* piece = std::get_if<TextContent>(&block.content);
      if (piece == nullptr || piece->text.empty()) continue;
      if (!all.empty()) all += "\n\n";
      all += piece->text;
    }
    return all;
  }
  bool operator==(const Message&) const = default;
};

// ---- tools ----

struct Tool {
  std::string name;
  std::string description;
  std::string input_schema;  // JSON Schema of an object, as text.
  bool strict = false;       // Its input must match the schema.
  bool deferred = false;     // Shown to the model only where a tool result refers to it.
  bool cache_mark = false;   // As Block::cache_mark.

  bool operator==(const Tool&) const = default;
};

struct ToolChoice {
  enum class Kind { automatic, any, tool, none };
  Kind kind = Kind::automatic;
  std::string name;         // For Kind::tool.
  bool one_at_most = false;  // No second call in the same turn.

  bool operator==(const ToolChoice&) const = default;
};

// Whether the model may think before it speaks.
struct ThinkingSettings {
  enum class Kind { unset, off, on, adaptive };  // unset: as the model's template does by itself.
  Kind kind = Kind::unset;
  std::optional<std::int32_t> budget_tokens;  // Unset: no bound of its own.
  std::string effort;                         // "low" to "max"; empty: not asked for.

  bool operator==(const ThinkingSettings&) const = default;
};

// What is to become a vector: a text as it stands, or tokens that were made of it before.
struct EmbedInput {
  std::string text;
  std::vector<TokenId> tokens;

  bool operator==(const EmbedInput&) const = default;
};

// What the model is to read and to say. Either messages, rendered by the model's
// chat template, or tokens that were made from them before; the other fields hold
// for both, for they also say how the answer is to be understood.
struct Prompt {
  std::vector<Message> messages;  // In order; a system message may stand anywhere. The assistant last: continue it.
  std::string text;               // When not empty, this is the prompt as it stands: no template, no messages.
  std::vector<TokenId> tokens;    // When not empty, these are the prompt and nothing else is read.
  std::vector<EmbedInput> inputs;   // When not empty, each is to become a vector, and nothing else is read.
  std::vector<std::string> images;  // Their files' bytes; messages name them, or ids in `tokens` (core/picture_token.h).
  std::vector<Tool> tools;
  ToolChoice tool_choice;
  ThinkingSettings thinking;
  std::string json_schema;  // The whole answer must be JSON that matches this schema; empty: free.

  bool operator==(const Prompt&) const = default;
};

// Unset fields take the model's own defaults, then the server's.
struct Sampling {
  std::optional<float> temperature;        // 0: greedy. 0 up to 2.
  std::optional<std::int32_t> top_k;       // 0: off.
  std::optional<float> top_p;              // (0, 1]; 1: off.
  std::optional<float> min_p;              // [0, 1); 0: off.
  std::optional<float> repeat_penalty;     // 1: off.
  std::optional<float> presence_penalty;   // 0: off.
  std::optional<float> frequency_penalty;  // 0: off.
  std::optional<std::uint64_t> seed;       // Unset: drawn by the server.

  bool operator==(const Sampling&) const = default;
};

// What an answer must look like: GBNF rules, as libllama reads them, beginning at
// "root" (chat/json_schema_grammar makes them). Only the whole may end the turn.
struct Grammar {
  std::string rules;
  // Empty: from the first token on. Otherwise the answer is free until it has said
  // this text, and the rules hold for what comes after it.
  std::string after;
  // It holds calls, and what it lets through needs no further look: an input may go out while it is sampled.
  bool sure_of_calls = false;

  bool operator==(const Grammar&) const = default;
};

// Rows of a prompt that are an image's, or a part of it.
struct PictureRows {
  std::int32_t begin = 0, end = 0;  // Positions in the prompt's tokens.
  std::int32_t image = 0;           // Index into Prompt::images.
  std::int32_t part = 0;

  bool operator==(const PictureRows&) const = default;
};

struct GenerateRequest {
  RequestId id{};
  Prompt prompt;
  Sampling sampling;
  std::int32_t max_tokens = 0;  // 0: read the prompt, say nothing.
  std::vector<std::string> stop_sequences;
  // For a prompt of tokens: the part of the answer that already stands at its end
  // (a thinking mark that the template set, the head of a call that was asked for).
  // Whoever made the tokens (`counted`) said what it is.
  std::string opening;
  // What the prompt's text is known by, so that the answer is recognised when it comes
  // back in a later prompt; from `counted`, too. Empty: it will not be.
  std::string origin;
  std::optional<Grammar> grammar;  // Made by the worker from what was asked for; not on the wire.
  std::vector<PictureRows> pictures;  // In order; made by the worker, too.
  // What was already sampled for this request, by a worker that is gone: the answer
  // goes on after it, as if nothing had happened. Not reported again.
  std::vector<TokenId> said;
  std::int32_t events_to_skip = 0;  // Of those that the last of `said` makes, how many were reported.
  bool hash_logits = false;         // Finished tells what its tokens were sampled from. For tests.
  std::int32_t keep_seconds = 0;    // The client asked that the prompt be kept so long (cache_control). 0: it did not.
  std::vector<std::int32_t> marks;  // Where in its tokens the client asked for that, rising; from `counted`, where the model needs it.

  bool operator==(const GenerateRequest&) const = default;
};

// To a model that makes embeddings: a vector of each input, in order.
struct EmbedRequest {
  RequestId id{};
  std::vector<EmbedInput> inputs;
  std::int32_t done = 0;  // So many of the first had theirs from a worker that is gone.

  bool operator==(const EmbedRequest&) const = default;
};

// What a worker can be asked for.
using ModelRequest = std::variant<GenerateRequest, EmbedRequest>;

// Spelled as in the Messages API.
enum class FinishReason { end_turn, max_tokens, stop_sequence, tool_use, model_context_window_exceeded, cancelled };

struct Usage {
  std::int32_t input_tokens = 0;   // The whole prompt.
  std::int32_t cached_tokens = 0;  // Of these, how many were not computed again.
  std::int32_t output_tokens = 0;
  std::int32_t kept_tokens = 0;    // Of the prompt tokens that were computed, how many are kept because the client asked for it.

  bool operator==(const Usage&) const = default;
};

}  // namespace pensieve
