// How deep a JSON text nests, counted without parsing it. Parsers and writers of JSON recurse:
// what comes from outside is measured before it is given to one.
//
//   Threads  any: a pure function.
//   Errors   none: of a text that is no JSON the number means nothing, and the parser will say so.
#pragma once

#include <string_view>

namespace pensieve {

int json_nesting(std::string_view text);

}  // namespace pensieve
