// Bytes over HTTP: a short text, or a large file in parallel ranges that an
// interruption costs little of. Proxies are taken from the environment.
//
//   Owns     FILE while it grows and FILE.state beside it, from which the next
//            try goes on. Both belong to one process at a time (the caller's lock).
//   Threads  one; everything happens inside the call.
//   Blocks   until done or failed. A connection without a byte for `stall` is cut
//            and tried again; tries and waits are bounded.
//   Errors   unavailable: no connection, or the server failed again and again;
//            permission_denied: 401, 403; not_found: 404; overloaded: 429 to the end;
//            too_large; corrupt: what came is not what was promised (FILE is removed);
//            internal: the disk refuses.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/result.h"

namespace pensieve {

struct TransferOptions {
  std::string token;        // Sent as a bearer token, and only to `token_host`.
  std::string token_host;   // scheme://host:port of the hub.
  int connections = 4;
  std::uint64_t chunk_bytes = 8u << 20;  // The unit of resuming: at most this is loaded twice, a connection.
  int tries_max = 6;                     // In a row without a byte.
  std::chrono::milliseconds wait_first{500};  // Before the second try; doubles, at most 30 s. A Retry-After wins, up to 60 s.
  std::chrono::seconds stall{30};
};

struct RemoteText {
  std::string body;
  std::string link;  // The Link header.
};
Result<RemoteText> fetch_text(const std::string& url, const TransferOptions& options, std::size_t bytes_max);

struct RemoteFile {
  std::string url;
  std::optional<std::uint64_t> bytes;  // Promised by somebody else; what the server says must agree.
  std::string sha256;                  // Empty: unknown.
  std::string git_hash;                // Empty: unknown.
};

// What the server says of a file before it sends it; sizes are needed to check the disk.
Result<std::uint64_t> remote_size(const RemoteFile& file, const TransferOptions& options);

struct TransferProgress {
  enum class Phase { loading, checking } phase = Phase::loading;
  std::uint64_t done = 0;
  std::uint64_t total = 0;
};

// Ends with the whole file, its hash checked, at `path`.
Result<void> download(const RemoteFile& file, const std::string& path, const TransferOptions& options,
                      const std::function<void(const TransferProgress&)>& on_progress);

// How many bytes of `path` an earlier try has already.
std::uint64_t resumed_bytes(const std::string& path);

}  // namespace pensieve
