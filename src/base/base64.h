// Base64 as of RFC 4648, section 4: the alphabet with + and /, padded with =.
//
//   Threads  any: pure functions.
//   Errors   nullopt: a letter outside the alphabet, or a length that no bytes have.
//            Line breaks are passed over (clients wrap long data); missing padding is fine.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pensieve {

std::string base64_encode(std::string_view bytes);
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace pensieve
