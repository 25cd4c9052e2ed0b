#include "api/anthropic/sealed_thinking.h"

#include <array>
#include <cstdint>

namespace pensieve::anthropic {
namespace {

constexpr std::string_view kMark = "pensieve1.";
constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";  // RFC 4648.

}  // namespace

std::string seal_thinking(std::string_view thinking) {
  std::string sealed(kMark);
  for (std::size_t i = 0; i < thinking.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) bits = bits << 8 | (i + k < thinking.size() ? static_cast<unsigned char>(thinking[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) sealed += i + k <= thinking.size() ? kLetters[bits >> (18 - 6 * k) & 63] : '=';
  }
  return sealed;
}

std::optional<std::string> open_sealed_thinking(std::string_view signature) {
  if (!signature.starts_with(kMark)) return std::nullopt;
  signature.remove_prefix(kMark.size());
  if (signature.size() % 4 != 0) return std::nullopt;
  while (signature.ends_with('=')) signature.remove_suffix(1);
  std::string thinking;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char letter : signature) {
    const std::size_t value = kLetters.find(letter);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    thinking.push_back(static_cast<char>(bits >> held & 0xFF));
  }
  return thinking;
}

}  // namespace pensieve::anthropic
