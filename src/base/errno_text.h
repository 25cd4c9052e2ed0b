// What the system says of an errno ("No such file or directory"), from any thread:
// std::strerror may hand out a buffer that all share.
#pragma once

#include <cerrno>
#include <string>
#include <system_error>

namespace pensieve {

inline std::string errno_text(int code = errno) { return std::generic_category().message(code); }

}  // namespace pensieve
