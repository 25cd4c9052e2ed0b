// Thinking that the client asked not to see (display: omitted) travels in the
// block's signature: clients give thinking blocks back as they came, so the next
// turn's prompt holds the same words as the model's own and its prefix still hits.
// Not a secret: it is the user's own machine.
//
//   Threads  any: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pensieve::anthropic {

std::string seal_thinking(std::string_view thinking);
std::optional<std::string> open_sealed_thinking(std::string_view signature);  // nullopt: none of ours.

}  // namespace pensieve::anthropic
