// What an image's file says of itself in its first bytes: format and size. Read before
// anything is decoded, so that no few bytes can ask for gigabytes.
//
//   Threads  any: a pure function.
//   Errors   invalid_argument: half a sentence about the image.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace pensieve {

// What decoding one may take: a picture of 3840 by 2160 pixels fits.
inline constexpr std::uint64_t kImageBytesMax = 100u << 20;

struct ImageHeader {
  enum class Format { png, jpeg, gif };
  Format format = Format::png;
  std::uint32_t width = 0, height = 0;
  std::uint64_t bytes = 0;  // That decoding takes, at most kImageBytesMax.
};

Result<ImageHeader> read_image_header(std::string_view file);

}  // namespace pensieve
