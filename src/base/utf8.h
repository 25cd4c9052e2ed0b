// UTF-8 as a stream: bytes arrive in any pieces, whole characters leave.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pensieve {

// How many bytes at the end of `bytes` are the beginning of a character whose
// rest is still to come: 0 to 3. Bytes that can never become valid do not count.
std::size_t utf8_incomplete_tail(std::string_view bytes);

bool utf8_valid(std::string_view bytes);

// Replaces every ill-formed part by U+FFFD, as the Unicode standard recommends
// (one replacement for each maximal subpart).
std::string utf8_sanitise(std::string_view bytes);

}  // namespace pensieve
