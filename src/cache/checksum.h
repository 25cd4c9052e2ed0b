// XXH3 behind two functions, so that one file includes it. Source: xxhash.com.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pensieve {

struct BlockKey;

std::uint64_t checksum_64(std::span<const std::byte> bytes);
BlockKey checksum_128(std::span<const std::byte> bytes);

// The same of bytes that come one after the other.
class Checksum128 {
 public:
  Checksum128();
  ~Checksum128();
  Checksum128(const Checksum128&) = delete;
  Checksum128& operator=(const Checksum128&) = delete;
  void add(std::span<const std::byte> bytes);
  BlockKey value() const;

 private:
  void* state_;
};

}  // namespace pensieve
