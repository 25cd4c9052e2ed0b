// For tests: WebP images that cwebp made.
#pragma once

#include <string>

#include "base/base64.h"

namespace pensieve {

// Red and blue stripes, 80 by 60, without loss.
inline std::string small_webp() { return base64_decode("UklGRiYAAABXRUJQVlA4TBoAAAAvT8AOAA8wCqP/hf/5Dx4ABeJvG0srov+pFQ==").value_or(""); }
// The same size, with loss.
inline std::string small_lossy_webp() {
  return base64_decode("UklGRuYAAABXRUJQVlA4INoAAADQBgCdASpQADwAPrVSn0u/vi2ipngN+/AWiWIGWAqwCFZwx7gS5mG3vQFRmg+ag7u8HHLuhoamw3o/////7QAA/vEAW3CgpOyL9tnAQeox1UE6tGfIiepflzdm/ewDE2Nv"
                       "hBWX8aw4iMk3p2eU8ScrGmIU2BZk/MhZoJLOR8N2LrlRI5zEH5reC0pv6njTKxWwIFER4IurCyYLCj6PXX3tXWmniWJTZFbmQwHEhMxr7WG9wU1GCje6YymyCAOByRghXOJtrOUkVRHnhJZaNINX9/JhUjYzmMAAAA==")
      .value_or("");
}
// 12000 by 12000 pixels of one colour: 40 bytes that ask for half a gigabyte.
inline std::string large_webp() { return base64_decode("UklGRiAAAABXRUJQVlA4TBQAAAAv3+63CwdQgVQIIAAKmv7HiIj+Bw==").value_or(""); }

}  // namespace pensieve
