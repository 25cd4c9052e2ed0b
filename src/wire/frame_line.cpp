#include "wire/frame_line.h"

namespace pensieve::wire {
namespace {

constexpr std::pair<const char*, ErrorCode> kErrorCodes[] = {
    {"invalid_argument", ErrorCode::invalid_argument}, {"not_found", ErrorCode::not_found},
    {"permission_denied", ErrorCode::permission_denied}, {"too_large", ErrorCode::too_large},
    {"overloaded", ErrorCode::overloaded}, {"unavailable", ErrorCode::unavailable},
    {"timeout", ErrorCode::timeout}, {"cancelled", ErrorCode::cancelled},
    {"corrupt", ErrorCode::corrupt}, {"internal", ErrorCode::internal},
};

}  // namespace

Result<Json> parse_object(std::string_view line) {
  if (line.size() > kLineBytesMax) return Error{ErrorCode::too_large, fmt::format("the line has {} bytes; at most {} are read", line.size(), kLineBytesMax)};
  Json object = Json::parse(line, nullptr, false);
  if (object.is_discarded()) return Error{ErrorCode::invalid_argument, "the line is not JSON"};
  if (!object.is_object()) return Error{ErrorCode::invalid_argument, "the line is not a JSON object"};
  return object;
}

Error read_error(Reader& reader) {
  const auto code = meant<ErrorCode>(kErrorCodes, reader.text("code", true));
  if (!code) reader.fail("code", "a known error code");
  return {code.value_or(ErrorCode::internal), reader.text("message", true)};
}

std::string line_of(const Json& object) {
  // replace: the model may sample bytes that are no UTF-8; the wire stays valid.
  std::string line = object.dump(-1, ' ', false, Json::error_handler_t::replace);
  line.push_back('\n');
  return line;
}

Json json_of(const Error& error) { return {{"code", spelled(kErrorCodes, error.code)}, {"message", error.message}}; }

}  // namespace pensieve::wire
