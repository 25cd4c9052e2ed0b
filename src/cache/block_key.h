// The name of a block: what it holds (256 tokens, fewer in the tail of a chain), what stands before it (its
// parent's name), and for which model and engine (the fingerprint, the root of
// every chain). Equal names mean equal content, so a name is also the proof that
// two conversations share a prefix.
//
//   Threads  any: pure functions.
//   Source   XXH3, 128 bits (xxhash.com). It is no protection against somebody who
//            builds a collision on purpose; a block's tokens are compared before use.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/request.h"

namespace pensieve {

inline constexpr std::int32_t kBlockTokens = 256;

struct BlockKey {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const BlockKey&) const = default;
};

std::string hex(const BlockKey& key);  // 32 digits.
std::optional<BlockKey> parse_key(std::string_view hex);

BlockKey fingerprint_of(std::string_view everything_that_matters);
BlockKey child_of(const BlockKey& parent, std::span<const TokenId> block);
// The names of all whole blocks of `tokens`, in order.
std::vector<BlockKey> chain_of(const BlockKey& fingerprint, std::span<const TokenId> tokens);

}  // namespace pensieve
