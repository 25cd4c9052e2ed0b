#include "base/utf8.h"

#include <algorithm>
#include <cstdint>

namespace pensieve {
namespace {

struct Lead {
  std::size_t length = 0;       // 0: not a lead byte.
  std::uint8_t second_min = 0;  // Bounds of the second byte; they exclude overlong forms,
  std::uint8_t second_max = 0;  // surrogates and everything above U+10FFFF.
};

// Unicode 15, table 3-7.
Lead lead_of(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {};
}

struct Scan {
  std::size_t length = 0;  // Bytes of the well-formed character or of the maximal ill-formed subpart.
  bool whole = false;      // A well-formed character.
  bool cut = false;        // Well-formed so far, but the bytes end.
};

Scan scan_character(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const Lead lead = lead_of(at(0));
  if (lead.length == 0) return {1, false, false};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {i, false, true};
    const std::uint8_t low = i == 1 ? lead.second_min : 0x80;
    const std::uint8_t high = i == 1 ? lead.second_max : 0xBF;
    if (at(i) < low || at(i) > high) return {i, false, false};
  }
  return {lead.length, true, false};
}

}  // namespace

std::size_t utf8_incomplete_tail(std::string_view bytes) {
  for (std::size_t back = 1; back <= std::min<std::size_t>(3, bytes.size()); ++back) {
    const std::string_view tail = bytes.substr(bytes.size() - back);
    if ((static_cast<std::uint8_t>(tail[0]) & 0xC0) == 0x80) continue;
    return scan_character(tail).cut ? back : 0;
  }
  return 0;
}

bool utf8_valid(std::string_view bytes) {
  while (!bytes.empty()) {
    const Scan scan = scan_character(bytes);
    if (!scan.whole) return false;
    bytes.remove_prefix(scan.length);
  }
  return true;
}

std::string utf8_sanitise(std::string_view bytes) {
  std::string clean;
  clean.reserve(bytes.size());
  while (!bytes.empty()) {
    const Scan scan = scan_character(bytes);
    if (scan.whole) clean.append(bytes.substr(0, scan.length));
    else clean.append("\xEF\xBF\xBD");
    bytes.remove_prefix(scan.length);
  }
  return clean;
}

}  // namespace pensieve
