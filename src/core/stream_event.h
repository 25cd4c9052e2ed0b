// What comes back up from the model while a request runs, in this order:
//
//   Started  Prefilled*  (Text | Thinking | ToolCallBegun ToolInput* ToolCallEnded)*  (Finished | Failed)
//   Started  (Prefilled | Embedded)*  (Finished | Failed)     where vectors were asked for
//
// Exactly one of the last two ends every request, whatever happens. A call that
// was not sampled whole has no ToolCallEnded, and nothing but the end follows it.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "core/request.h"

namespace pensieve {

struct Started {  // The request has its slot; its prompt is being read.
  std::int32_t input_tokens = 0;
  std::int32_t cached_tokens = 0;  // As in Usage; so is the next.
  std::int32_t kept_tokens = 0;
  bool operator==(const Started&) const = default;
};

struct Prefilled {  // So much of the prompt has been read.
  std::int32_t done_tokens = 0;
  std::int32_t total_tokens = 0;
  bool operator==(const Prefilled&) const = default;
};

struct Text {
  std::string text;             // Whole UTF-8 characters, never part of a stop sequence.
  std::vector<TokenId> tokens;  // Every id sampled since the last event, also of text still held back.
  std::int64_t sampled_us = 0;  // When the last of them was sampled (base/clock.h).
  bool operator==(const Text&) const = default;
};

struct Thinking {  // As Text, of what the model thinks before it speaks.
  std::string text;
  std::vector<TokenId> tokens;
  std::int64_t sampled_us = 0;
  bool operator==(const Thinking&) const = default;
};

struct ToolCallBegun {
  std::string id;    // The same again when the same answer is made again (after a restart of the worker).
  std::string name;  // One of the tools of the request.
  std::vector<TokenId> tokens;
  std::int64_t sampled_us = 0;
  bool operator==(const ToolCallBegun&) const = default;
};

struct ToolInput {
  std::string json;  // A piece; all pieces of a call together are one JSON object.
  std::vector<TokenId> tokens;
  std::int64_t sampled_us = 0;
  bool operator==(const ToolInput&) const = default;
};

struct ToolCallEnded {
  std::vector<TokenId> tokens;
  std::int64_t sampled_us = 0;
  bool operator==(const ToolCallEnded&) const = default;
};

struct Embedded {  // The vector of one input; they come in order.
  std::int32_t index = 0;
  std::vector<float> values;     // Of length 1.
  std::int32_t done_tokens = 0;  // Of all inputs.
  std::int32_t total_tokens = 0;
  bool operator==(const Embedded&) const = default;
};

struct Finished {
  FinishReason reason = FinishReason::end_turn;
  std::string stop_sequence;    // The one that ended it, for FinishReason::stop_sequence.
  Usage usage;
  std::vector<TokenId> tokens;  // Ids sampled since the last event (the end-of-turn token among them).
  std::int64_t prefill_us = 0;  // Time spent in prefill steps and in decode steps that this request was part of.
  std::int64_t decode_us = 0;
  std::string violation = {};   // What is not as a schema wants that had to be kept; empty: nothing.
  std::vector<std::uint64_t> logit_hashes = {};  // Where asked for (GenerateRequest::hash_logits): XXH3-64 of the logits of each token that this worker sampled.
  bool operator==(const Finished&) const = default;
};

struct Failed {
  Error error;
};

using StreamEvent = std::variant<Started, Prefilled, Text, Thinking, ToolCallBegun, ToolInput, ToolCallEnded, Embedded, Finished, Failed>;

// Where a request's events go. Called on the thread that owns the request (in
// the server: the I/O thread); must not block, must not call back into the caller.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void on_event(StreamEvent event) = 0;
};

}  // namespace pensieve
