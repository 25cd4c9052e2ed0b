// Does a JSON value match a JSON Schema? The other half of json_schema_grammar:
// what a grammar cannot express is checked here once the value is whole. Also the
// judge of the property tests, so it shares no code with the grammar but the
// patterns.
//
//   Threads  any: pure functions.
//   Errors   a violation is a sentence that begins with the place in the value.
//            Words of the schema that it does not know match everything, as the
//            specification wants.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace pensieve {

inline constexpr std::size_t kViolationsMax = 20;

// The value's violations, at most `most`; empty: it matches. `root` is what $ref begins at.
std::vector<std::string> schema_violations(const nlohmann::ordered_json& root, const nlohmann::ordered_json& schema, const nlohmann::ordered_json& value,
                                           std::size_t most = kViolationsMax);

// The same for texts. invalid_argument: one of them is no JSON.
Result<std::vector<std::string>> json_schema_check(std::string_view schema, std::string_view value);

}  // namespace pensieve
