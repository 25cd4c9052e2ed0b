// SHA-256 (FIPS 180-4) of bytes in memory, for programs that link no cryptographic
// library: the worker, which names images by it.
//
//   Threads  any: a pure function.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace pensieve {

// Its eight words, two to each, the first in the high half.
std::array<std::uint64_t, 4> sha256(std::string_view bytes);

}  // namespace pensieve
