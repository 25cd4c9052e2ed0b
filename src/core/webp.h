// Whether bytes are a WebP image's: "RIFF", a length, "WEBP".
#pragma once

#include <string_view>

namespace pensieve {

constexpr bool is_webp(std::string_view bytes) { return bytes.size() >= 12 && bytes.starts_with("RIFF") && bytes.substr(8, 4) == "WEBP"; }

}  // namespace pensieve
