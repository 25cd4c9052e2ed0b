// The shared nouns: what a client asked for and what comes back, free of any
// wire format. Plain values; whoever holds one owns it.
//
//   Units    tokens unless a name says bytes; positions count from 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pensieve {

using TokenId = std::int32_t;

// One client request, for its whole life; unique while the server runs, never 0.
enum class RequestId : std::uint64_t {};
// One sequence of tokens in the engine's KV cache; 0 up to slots - 1.
enum class SequenceId : std::int32_t {};

enum class Role { system, user, assistant };

struct Message {
  Role role = Role::user;
  std::string text;

  bool operator==(const Message&) const = default;
};

// What the model is to read. Either messages, rendered by the model's chat
// template, or tokens that were made from them before.
struct Prompt {
  std::vector<Message> messages;  // In order; a system message may stand anywhere.
  std::vector<TokenId> tokens;    // When not empty, these are the prompt and messages are not read.

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

struct GenerateRequest {
  RequestId id{};
  Prompt prompt;
  Sampling sampling;
  std::int32_t max_tokens = 0;  // At least 1.
  std::vector<std::string> stop_sequences;

  bool operator==(const GenerateRequest&) const = default;
};

// Spelled as in the Messages API.
enum class FinishReason { end_turn, max_tokens, stop_sequence, model_context_window_exceeded, cancelled };

struct Usage {
  std::int32_t input_tokens = 0;   // The whole prompt.
  std::int32_t cached_tokens = 0;  // Of these, how many were not computed again.
  std::int32_t output_tokens = 0;

  bool operator==(const Usage&) const = default;
};

}  // namespace pensieve
