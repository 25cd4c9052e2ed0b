#include "cache/checksum.h"

#include "cache/block_key.h"

// In the headers' own form: the worker runs on another C library than the host's libxxhash.
#define XXH_INLINE_ALL
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <xxhash.h>
#pragma GCC diagnostic pop

namespace pensieve {

std::uint64_t checksum_64(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

BlockKey checksum_128(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

Checksum128::Checksum128() : state_(XXH3_createState()) { XXH3_128bits_reset(static_cast<XXH3_state_t*>(state_)); }
Checksum128::~Checksum128() { XXH3_freeState(static_cast<XXH3_state_t*>(state_)); }
void Checksum128::add(std::span<const std::byte> bytes) { XXH3_128bits_update(static_cast<XXH3_state_t*>(state_), bytes.data(), bytes.size()); }
BlockKey Checksum128::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(static_cast<XXH3_state_t*>(state_));
  return {hash.high64, hash.low64};
}

}  // namespace pensieve
