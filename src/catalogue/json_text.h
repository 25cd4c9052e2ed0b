// JSON from outside: parsed without throwing, and only if it is not nested so
// deeply that walking it would end our stack.
//
//   Errors   a discarded value (value.is_discarded()) for what is no JSON or too deep.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

namespace pensieve {

inline nlohmann::json parse_json(std::string_view text, int depth_max = 100) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > depth_max) return {nlohmann::json::value_t::discarded};
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return nlohmann::json::parse(text, nullptr, false);
}

}  // namespace pensieve
