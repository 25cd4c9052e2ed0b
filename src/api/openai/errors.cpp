#include "api/openai/errors.h"

#include <nlohmann/json.hpp>

#include "api/error_status.h"

namespace pensieve::openai {
namespace {

const char* type_of(int status) {
  if (const char* common = common_error_type(status)) return common;
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

std::string error_body(int status, const std::string& message) {
  // A field's complaint begins with its path, which clients show as `param`.
  const std::size_t colon = message.find(": ");
  const bool names_field = status == 400 && colon != std::string::npos && message.substr(0, colon).find(' ') == std::string::npos;
  // Agents look for this code to shorten their conversation.
  const bool too_long = message.find("is too long: ") != std::string::npos;
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

int status_of(ErrorCode code) { return http_status_of(code, 503); }

const Dialect& dialect() {
  static constexpr Dialect kDialect{error_reply, status_of};
  return kDialect;
}

}  // namespace pensieve::openai
