// Errors as the Messages API spells them (shared/API.md section 1.6).
#pragma once

#include <string>

#include "base/result.h"
#include "http/exchange.h"

namespace pensieve::anthropic {

int status_of(ErrorCode code);
const char* type_of_status(int status);

// {"type":"error","error":{"type","message"},"request_id"}
std::string error_body(int status, const std::string& message, const std::string& request_id);
http::Reply error_reply(int status, const std::string& message, const std::string& request_id);
http::Reply error_reply(const Error& error, const std::string& request_id);

// For a request with `thread`: nothing of a conversation is kept here by message id.
// Clients read details.error_code and send the whole conversation instead.
http::Reply thread_unsupported_reply(const std::string& request_id);

}  // namespace pensieve::anthropic
