#include "api/anthropic/errors.h"

#include <nlohmann/json.hpp>

#include "api/error_status.h"

namespace pensieve::anthropic {

int status_of(ErrorCode code) { return http_status_of(code, 529); }

const char* type_of_status(int status) {
  if (const char* common = common_error_type(status)) return common;
  switch (status) {
    case 413: return "request_too_large";
    case 504: return "timeout_error";
    case 529: return "overloaded_error";
    default: return status >= 500 ? "api_error" : "invalid_request_error";
  }
}

std::string error_body(int status, const std::string& message, const std::string& request_id) {
  const nlohmann::ordered_json body = {
      {"type", "error"}, {"error", {{"type", type_of_status(status)}, {"message", message}}}, {"request_id", request_id}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

http::Reply error_reply(int status, const std::string& message, const std::string& request_id) {
  http::Reply reply;
  reply.status = status;
  reply.body = error_body(status, message, request_id);
  return reply;
}

http::Reply error_reply(const Error& error, const std::string& request_id) { return error_reply(status_of(error.code), error.message, request_id); }

http::Reply thread_unsupported_reply(const std::string& request_id) {
  const nlohmann::ordered_json body = {
      {"type", "error"},
      {"error",
       {{"type", type_of_status(400)},
        {"message", "thread: message threads are not kept here; send the whole conversation in messages"},
        {"details", {{"error_code", "thread_unsupported_request"}, {"unsupported", {"thread"}}}}}},
      {"request_id", request_id}};
  http::Reply reply;
  reply.status = 400;
  reply.body = body.dump();
  return reply;
}

}  // namespace pensieve::anthropic
