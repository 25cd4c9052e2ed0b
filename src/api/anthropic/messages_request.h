// The body of POST /v1/messages and /v1/messages/count_tokens: JSON text in, core
// types out. Pure; knows the API's field names and nothing else.
//
// The same words in another JSON shape come out the same: text as a string or as
// blocks, is_error false or missing, a cache mark here or there. Prefixes of prompts
// live on that. docs/api.md lists what is honoured, ignored and refused.
//
//   Errors   invalid_argument, beginning with the field's path ("messages.0.role: ...").
//            Unknown fields and blocks never fail a request: clients send new ones
//            every month. What would be answered wrongly if it were ignored is refused.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "core/document.h"
#include "core/request.h"

namespace pensieve::anthropic {

// What takes more than this function to be read: a PDF, a WebP image, a document or an image by URL.
struct UnreadSource {
  enum class Kind { pdf, webp, url, image_url };
  std::string at;     // Its block's path: "messages.0.content.1".
  Kind kind = Kind::pdf;
  std::string data;   // Its bytes, or the URL.
};
// What was read meanwhile, by path. The error is a half sentence: "this PDF has ...".
using ReadSources = std::map<std::string, Result<Document>>;

struct MessagesRequest {
  std::string model;  // As the client named it; replies echo it.
  bool stream = false;
  Prompt prompt;
  Sampling sampling;
  std::int32_t max_tokens = 0;  // 0: read the prompt, say nothing.
  std::vector<std::string> stop_sequences;
  bool thinking_omitted = false;  // The client wants thinking blocks without their words.
  std::int32_t keep_seconds = 0;  // The longest cache_control in it: 300 or 3,600; 0: none.

  bool diagnose = false;                         // `diagnostics`: tell why less lay in the cache than the
  std::optional<std::string> previous_message_id;  // message of this id could have left there. Unset: the first turn.

  bool threaded = false;          // It has `thread` (beta); nothing else of it was read.

  // Not empty: the prompt is not whole. Read these and parse once more, with what they say.
  std::vector<UnreadSource> unread;

  // What was changed on the way in, and how often: names as in docs/metrics.md.
  std::map<std::string, int> normalised;
};

enum class Endpoint { messages, count_tokens };  // count_tokens needs no max_tokens.

// `client_rules`: rules for particular clients. There is one: Claude Code's first
// system block ("x-anthropic-billing-header: ...") differs in every conversation and
// is left out.
// `sees`: the model takes images. Without: an image in a message is refused, and in a tool's result a note stands for it.
Result<MessagesRequest> parse_messages_request(std::string_view body, Endpoint endpoint, bool client_rules = true, const ReadSources& sources = {}, bool sees = false);

}  // namespace pensieve::anthropic
