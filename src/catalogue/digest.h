// SHA-256 and git's blob hash, as hexadecimal text: what a hub says of a file,
// and what the file is.
//
//   Threads  any.
//   Errors   not_found, internal: the file cannot be read whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace pensieve {

enum class DigestKind { sha256, git_blob };

class Digest {
 public:
  // `bytes`: how many will come; only git's hash begins with it.
  Digest(DigestKind kind, std::uint64_t bytes);
  Digest(Digest&&) noexcept;
  ~Digest();

  void add(std::span<const std::byte> bytes);
  std::string finish();  // Lower-case hexadecimal; once.

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads the file through a buffer of 1 MiB. `on_progress` hears how many bytes are done.
Result<std::string> digest_of_file(const std::string& path, DigestKind kind, const std::function<void(std::uint64_t)>& on_progress = {});

}  // namespace pensieve
