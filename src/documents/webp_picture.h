// A WebP image as PNG, by libwebp's dwebp, as a child within the same bounds as
// pdf_text.h: the engine's decoder does not know WebP.
//
//   Threads  any.
//   Blocks   until it is decoded, at most `wall_max`.
//   Errors   as pdf_text(): half a sentence about "this image".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace pensieve {

struct WebpOptions {
  std::string program;  // Empty: dwebp is looked for on PATH, each time.
  std::size_t bytes_max = 16 << 20;  // Of the PNG.
  std::uint64_t data_bytes_max = 48 << 20;
  std::chrono::milliseconds wall_max{20000};
};

Result<std::string> png_of_webp(std::string_view webp, const WebpOptions& options);

}  // namespace pensieve
