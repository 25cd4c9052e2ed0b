// JSON from outside: parsed without throwing, and only if it is not nested so
// deeply that walking it would end our stack.
//
//   Errors   a discarded value (value.is_discarded()) for what is no JSON or too deep.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/json_nesting.h"

namespace pensieve {

inline nlohmann::json parse_json(std::string_view text, int depth_max = 100) {
  if (json_nesting(text) > depth_max) return {nlohmann::json::value_t::discarded};
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace pensieve
