#include "cache/block_key.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cstring>

#include "cache/checksum.h"

namespace pensieve {

std::string hex(const BlockKey& key) { return fmt::format("{:016x}{:016x}", key.high, key.low); }

std::optional<BlockKey> parse_key(std::string_view digits) {
  if (digits.size() != 32) return std::nullopt;
  BlockKey key;
  const auto half = [](std::string_view part, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value, 16);
    return error == std::errc() && end == part.data() + part.size();
  };
  if (!half(digits.substr(0, 16), key.high) || !half(digits.substr(16), key.low)) return std::nullopt;
  return key;
}

BlockKey fingerprint_of(std::string_view everything_that_matters) { return checksum_128(std::as_bytes(std::span(everything_that_matters))); }

BlockKey child_of(const BlockKey& parent, std::span<const TokenId> block) {
  std::vector<std::byte> bytes(sizeof(parent) + block.size_bytes());
  std::memcpy(bytes.data(), &parent, sizeof(parent));
  std::memcpy(bytes.data() + sizeof(parent), block.data(), block.size_bytes());
  return checksum_128(bytes);
}

std::vector<BlockKey> chain_of(const BlockKey& fingerprint, std::span<const TokenId> tokens) {
  std::vector<BlockKey> keys;
  BlockKey parent = fingerprint;
  for (; tokens.size() >= kBlockTokens; tokens = tokens.subspan(kBlockTokens)) {
    parent = child_of(parent, tokens.first(kBlockTokens));
    keys.push_back(parent);
  }
  return keys;
}

}  // namespace pensieve
