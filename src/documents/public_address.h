// Whether an address belongs to somebody out there: not to this machine, not to the
// networks it stands in, not to what such networks keep for themselves (the metadata
// services of clouds answer on link-local addresses).
//
//   Threads  any: a pure function.
// Sources: the special-purpose registries of IANA for IPv4 (RFC 6890 and after) and
// IPv6, as of 2026. Of IPv6 only 2000::/3 is given out to the public at all.
#pragma once

#include <sys/socket.h>

namespace pensieve {

bool is_public_address(const sockaddr* address);

}  // namespace pensieve
