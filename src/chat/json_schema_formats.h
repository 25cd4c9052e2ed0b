// What JSON Schema's `format` values look like, as patterns. A format that is not
// here is an annotation only.
#pragma once

#include <string_view>

namespace pensieve {

// Empty: not known.
std::string_view pattern_of_format(std::string_view format);

}  // namespace pensieve
