// The one place that says which Pensieve this is; CMake checks that it agrees.
#pragma once

namespace pensieve {
inline constexpr const char* kVersion = "0.1.0";
}  // namespace pensieve
