#include "documents/public_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace pensieve {
namespace {

struct Network {
  std::uint32_t address;
  int bits;
};

constexpr std::uint32_t v4(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d) { return a << 24 | b << 16 | c << 8 | d; }

constexpr Network kNotPublic[] = {
    {v4(0, 0, 0, 0), 8},      {v4(10, 0, 0, 0), 8},      {v4(100, 64, 0, 0), 10},   {v4(127, 0, 0, 0), 8},  {v4(169, 254, 0, 0), 16}, {v4(172, 16, 0, 0), 12},
    {v4(192, 0, 0, 0), 24},   {v4(192, 0, 2, 0), 24},    {v4(192, 88, 99, 0), 24},  {v4(192, 168, 0, 0), 16}, {v4(198, 18, 0, 0), 15}, {v4(198, 51, 100, 0), 24},
    {v4(203, 0, 113, 0), 24}, {v4(224, 0, 0, 0), 3},  // Multicast, reserved, broadcast.
};

bool is_public(std::uint32_t address) {
  return std::ranges::none_of(kNotPublic, [address](const Network& network) { return ((address ^ network.address) >> (32 - network.bits)) == 0; });
}

bool is_public(const unsigned char* bytes) {
  if ((bytes[0] & 0xE0) != 0x20) return false;  // 2000::/3
  const auto word = [bytes](std::size_t i) { return static_cast<unsigned>(bytes[2 * i] << 8 | bytes[2 * i + 1]); };
  if (word(0) == 0x2001 && word(1) < 0x0200) return false;               // 2001::/23: Teredo, ORCHID, benchmarks.
  if (word(0) == 0x2001 && word(1) == 0x0DB8) return false;              // For documentation.
  if (word(0) == 0x3FFF && word(1) < 0x1000) return false;               // The same.
  if (word(0) == 0x2002) return is_public(word(1) << 16 | word(2));      // 6to4: an IPv4 address inside.
  return true;
}

}  // namespace

bool is_public_address(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof in);
    return is_public(ntohl(in.sin_addr.s_addr));
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, address, sizeof in);
    return is_public(in.sin6_addr.s6_addr);
  }
  return false;
}

}  // namespace pensieve
