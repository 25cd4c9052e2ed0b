// The body of a request as JSON, whatever the dialect. Only the dialects' parsers
// include this: it brings the JSON library.
//
//   Threads  any: a pure function.
//   Errors   invalid_argument: not UTF-8, not JSON, no object, or nested so deep that
//            what reads it later would recurse without bound.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/result.h"

namespace pensieve {

// Ordered: schemas and inputs keep the order of their keys.
Result<nlohmann::ordered_json> parse_request_json(std::string_view body);

}  // namespace pensieve
