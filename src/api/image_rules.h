// What every dialect holds the images of a request to.
#pragma once

#include <cstddef>
#include <string_view>

namespace pensieve {

inline constexpr std::size_t kImagesMax = 100;  // As the Messages API has it.

constexpr bool is_image_type(std::string_view media_type) { return media_type == "image/png" || media_type == "image/jpeg" || media_type == "image/gif"; }

}  // namespace pensieve
