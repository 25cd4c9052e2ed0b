// Fetches what a request names by URL, and nothing else: only http and https, only from
// addresses that `allowed` lets pass. The address is looked at when the connection
// is made, after the name was resolved and again at each redirect, so that neither a name
// that points inwards nor one that changes its mind gets through. Proxies of the
// environment are not used: they would resolve names out of sight.
//
//   Threads  any.
//   Blocks   until it is here, at most `wall_max`.
//   Errors   invalid_argument, as a half sentence about the URL: the client chose it.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <string>

#include "base/result.h"
#include "documents/public_address.h"

namespace pensieve {

struct RemoteOptions {
  bool (*allowed)(const sockaddr* address) = is_public_address;
  std::size_t bytes_max = 32 << 20;
  std::chrono::milliseconds wall_max{20000};
};

struct RemoteDocument {
  std::string media_type;  // In lower case, without parameters; empty: the server did not say.
  std::string bytes;
};

Result<RemoteDocument> fetch_remote(const std::string& url, const RemoteOptions& options);

}  // namespace pensieve
