#include "catalogue/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/check.h"

namespace pensieve {

struct Digest::State {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Digest::Digest(DigestKind kind, std::uint64_t bytes) : state_(std::make_unique<State>()) {
  CHECK(state_->context != nullptr, "a hash needs some bytes of memory");
  CHECK(EVP_DigestInit_ex(state_->context.get(), kind == DigestKind::sha256 ? EVP_sha256() : EVP_sha1(), nullptr) == 1, "OpenSSL has SHA-1 and SHA-256");
  if (kind != DigestKind::git_blob) return;
  const std::string head = fmt::format("blob {}", bytes);
  add(std::as_bytes(std::span(head.c_str(), head.size() + 1)));
}

Digest::Digest(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::add(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1, "hashing memory does not fail");
}

std::string Digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned length = 0;
  CHECK(EVP_DigestFinal_ex(state_->context.get(), bytes.data(), &length) == 1, "a hash is finished once");
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

Result<std::string> digest_of_file(const std::string& path, DigestKind kind, const std::function<void(std::uint64_t)>& on_progress) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) return Error{ErrorCode::not_found, fmt::format("'{}' cannot be read", path)};
  Digest digest(kind, size);
  std::vector<char> buffer(std::size_t{1} << 20);
  std::uint64_t done = 0;
  while (done < size) {
    in.read(buffer.data(), static_cast<std::streamsize>(std::min<std::uint64_t>(buffer.size(), size - done)));
    const auto got = static_cast<std::size_t>(in.gcount());
    if (got == 0) return Error{ErrorCode::internal, fmt::format("'{}' could be read only up to byte {} of {}", path, done, size)};
    digest.add(std::as_bytes(std::span(buffer.data(), got)));
    done += got;
    if (on_progress) on_progress(done);
  }
  return digest.finish();
}

}  // namespace pensieve
