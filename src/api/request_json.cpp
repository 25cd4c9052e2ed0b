#include "api/request_json.h"

#include <fmt/format.h>

#include "base/utf8.h"

namespace pensieve {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDepthMax = 64;

}  // namespace

Result<Json> parse_request_json(std::string_view body) {
  bool too_deep = false;
  const auto watch_depth = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kDepthMax;
    return !too_deep;
  };
  if (!utf8_valid(body)) return Error{ErrorCode::invalid_argument, "the request body is not valid UTF-8"};
  Json json = Json::parse(body, watch_depth, false);
  if (too_deep) return Error{ErrorCode::invalid_argument, fmt::format("the request body is nested more than {} levels deep", kDepthMax)};
  if (json.is_discarded()) return Error{ErrorCode::invalid_argument, "the request body is not valid JSON"};
  if (!json.is_object()) return Error{ErrorCode::invalid_argument, "the request body must be a JSON object"};
  return json;
}

}  // namespace pensieve
