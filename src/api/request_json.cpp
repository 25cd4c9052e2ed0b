#include "api/request_json.h"

#include <fmt/format.h>

#include "base/json_nesting.h"
#include "base/utf8.h"

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 64;

}  // namespace

Result<Json> parse_request_json(std::string_view body) {
  if (!utf8_valid(body)) return Error{ErrorCode::invalid_argument, "the request body is not valid UTF-8"};
  if (json_nesting(body) > kDepthMax) return Error{ErrorCode::invalid_argument, fmt::format("the request body is nested more than {} levels deep", kDepthMax)};
  Json json = Json::parse(body, nullptr, false);
  if (json.is_discarded()) return Error{ErrorCode::invalid_argument, "the request body is not valid JSON"};
  if (!json.is_object()) return Error{ErrorCode::invalid_argument, "the request body must be a JSON object"};
  return json;
}

}  // namespace pensieve
