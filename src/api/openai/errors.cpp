#include "api/openai/errors.h"

#include <nlohmann/json.hpp>

namespace pensieve::openai {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string error_body(int status, const std::string& message) {
  // A field's complaint begins with its path, which clients show as `param`.
  const std::size_t colon = message.find(": ");
  const bool names_field = status == 400 && colon != std::string::npos && message.substr(0, colon).find(' ') == std::string::npos;
  // Agents look for this code to shorten their conversation.
  const bool too_long = message.starts_with("prompt is too long");
  const nlohmann::ordered_json body = {{"error",
                                        {{"message", message},
                                         {"type", type_of(status)},
                                         {"param", names_field ? nlohmann::ordered_json(message.substr(0, colon)) : nlohmann::ordered_json()},
                                         {"code", too_long ? nlohmann::ordered_json("context_length_exceeded") : nlohmann::ordered_json()}}}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

http::Reply error_reply(int status, const std::string& message, const std::string&) {
  http::Reply reply;
  reply.status = status;
  reply.body = error_body(status, message);
  return reply;
}

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return 400;
    case ErrorCode::not_found: return 404;
    case ErrorCode::permission_denied: return 403;
    case ErrorCode::too_large: return 413;
    case ErrorCode::overloaded:
    case ErrorCode::unavailable: return 503;
    case ErrorCode::timeout: return 504;
    case ErrorCode::cancelled:
    case ErrorCode::corrupt:
    case ErrorCode::internal: return 500;
  }
  return 500;
}

const Dialect& dialect() {
  static constexpr Dialect kDialect{error_reply, status_of};
  return kDialect;
}

}  // namespace pensieve::openai
