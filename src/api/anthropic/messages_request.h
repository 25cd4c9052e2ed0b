// The body of POST /v1/messages and /v1/messages/count_tokens: JSON text in, core
// types out. Pure; knows the API's field names and nothing else.
//
//   Errors   invalid_argument, beginning with the field's path ("messages.0.role: ...").
//            Unknown fields are ignored: clients send new ones every month. What
//            would change the meaning and is not there yet (tools, images) is refused.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "core/request.h"

namespace pensieve::anthropic {

struct MessagesRequest {
  std::string model;  // As the client named it; replies echo it.
  bool stream = false;
  Prompt prompt;
  Sampling sampling;
  std::int32_t max_tokens = 0;
  std::vector<std::string> stop_sequences;
};

enum class Endpoint { messages, count_tokens };  // count_tokens needs no max_tokens.

Result<MessagesRequest> parse_messages_request(std::string_view body, Endpoint endpoint);

}  // namespace pensieve::anthropic
