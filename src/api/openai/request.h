// The bodies of POST /v1/chat/completions, /v1/completions and /v1/responses: JSON
// text in, core types out. Pure; knows these APIs' field names and nothing else.
//
//   Errors   invalid_argument, beginning with the field's path. Unknown fields are
//            ignored; what would be answered wrongly if it were ignored (several
//            choices, log probabilities, stored responses) is refused.
#pragma once

#include <string>
#include <string_view>

#include "api/answer.h"
#include "base/result.h"

namespace pensieve::openai {

struct Request {
  Asked asked;
  bool include_usage = false;  // stream_options: a last chunk with the usage.
  std::string echo;            // responses: fields that the reply repeats, as a JSON object.
};

// `sees`: the model takes images, as data: URLs.
Result<Request> parse_chat(std::string_view body, bool sees = false);
Result<Request> parse_completion(std::string_view body, bool sees = false);
Result<Request> parse_response(std::string_view body, bool sees = false);

}  // namespace pensieve::openai
