#include "api/anthropic/sealed_thinking.h"

#include "base/base64.h"

namespace pensieve::anthropic {
namespace {

constexpr std::string_view kMark = "pensieve1.";

}  // namespace

std::string seal_thinking(std::string_view thinking) { return std::string(kMark) + base64_encode(thinking); }

std::optional<std::string> open_sealed_thinking(std::string_view signature) {
  if (!signature.starts_with(kMark)) return std::nullopt;
  return base64_decode(signature.substr(kMark.size()));
}

}  // namespace pensieve::anthropic
