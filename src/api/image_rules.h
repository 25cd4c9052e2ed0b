// What every dialect holds the images of a request to.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <string_view>

#include "base/result.h"
#include "core/request.h"

namespace pensieve {

inline constexpr std::size_t kImagesMax = 100;  // As the Messages API has it.
inline constexpr std::size_t kImagesBytesMax = 32u << 20;  // Of all together: they go to the worker in one line (wire::kLineBytesMax).

constexpr bool is_image_type(std::string_view media_type) { return media_type == "image/png" || media_type == "image/jpeg" || media_type == "image/gif"; }

// Whether `prompt` may have so many more images, of so many bytes. The error is half a sentence.
inline Result<void> room_for_images(const Prompt& prompt, std::size_t images, std::size_t bytes) {
  if (prompt.images.size() + images > kImagesMax) return Error{ErrorCode::invalid_argument, fmt::format("goes beyond the {} images that a request may bring", kImagesMax)};
  for (const std::string& image : prompt.images) bytes += image.size();
  if (bytes > kImagesBytesMax) return Error{ErrorCode::invalid_argument, fmt::format("goes beyond the {} MiB that the images of a request may have together", kImagesBytesMax >> 20)};
  return {};
}

}  // namespace pensieve
