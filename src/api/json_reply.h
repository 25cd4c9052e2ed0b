// A reply whose body is JSON.
//
//   Threads  any: a pure function.
#pragma once

#include <nlohmann/json.hpp>

#include "http/exchange.h"

namespace pensieve {

// What is no UTF-8 in it (a model may say such things) is replaced.
inline http::Reply json_reply(const nlohmann::ordered_json& body, int status = 200) {
  http::Reply reply;
  reply.status = status;
  reply.body = body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return reply;
}

}  // namespace pensieve
