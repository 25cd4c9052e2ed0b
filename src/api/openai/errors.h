// Errors as OpenAI's API spells them: {"error":{"message","type","param","code"}}.
#pragma once

#include <string>

#include "api/answer.h"
#include "base/result.h"
#include "http/exchange.h"

namespace pensieve::openai {

std::string error_body(int status, const std::string& message);
http::Reply error_reply(int status, const std::string& message, const std::string& request_id);
int status_of(ErrorCode code);
const Dialect& dialect();

}  // namespace pensieve::openai
