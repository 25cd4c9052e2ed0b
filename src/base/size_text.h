// A number of bytes for people: "2.18 GB", "15.7 MB", "0.3 kB" (powers of ten).
#pragma once

#include <cstdint>
#include <string>

namespace pensieve {

std::string size_text(std::uint64_t bytes);

}  // namespace pensieve
