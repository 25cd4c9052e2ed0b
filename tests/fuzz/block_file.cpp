// A block of the KV store. Checksums would keep a fuzzer out of everything behind
// them, so an input may ask to have them made right first.
//
//   input   '!': checksums and name are made right; any other byte: not. Then the file.
#include "cache/block_file.h"

#include <cstring>

#include "base/check.h"
#include "cache/checksum.h"
#include "fuzz.h"

using namespace pensieve;

namespace {

class BytesFile final : public File {
 public:
  explicit BytesFile(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}
  Result<void> append(std::span<const std::byte>) override { return Error{ErrorCode::internal, "read only"}; }
  Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset) return Error{ErrorCode::corrupt, "cut short"};
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }
  Result<void> sync() override { return {}; }

 private:
  std::vector<std::byte> bytes_;
};

// docs/kv_store.md has the drawing.
constexpr std::size_t kCountsAt = 8;
constexpr std::size_t kKeyAt = 16;
constexpr std::size_t kTokensAt = kKeyAt + 2 * sizeof(BlockKey);

template <typename T>
T take(const std::vector<std::byte>& bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}
template <typename T>
void put(std::vector<std::byte>& bytes, std::size_t at, const T& value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

void make_right(std::vector<std::byte>& bytes) {
  if (bytes.size() < kTokensAt) return;
  const std::uint64_t count = take<std::uint32_t>(bytes, kCountsAt);
  if (count == 0 || count > kCheckpointTokensMax || bytes.size() < kTokensAt + count * sizeof(TokenId)) return;
  const std::uint64_t pieces = take<std::uint32_t>(bytes, kCountsAt + 4);
  const std::size_t pieces_at = kTokensAt + count * sizeof(TokenId);
  std::uint64_t at = pieces_at + pieces * 8;
  if (bytes.size() < at + 8) return;
  std::vector<TokenId> tokens(count);
  std::memcpy(tokens.data(), bytes.data() + kTokensAt, tokens.size() * sizeof(TokenId));
  put(bytes, kKeyAt, child_of(take<BlockKey>(bytes, kKeyAt + sizeof(BlockKey)), tokens));
  put(bytes, at, checksum_64(std::span(bytes).first(at)));
  at += 8;
  std::vector<std::uint64_t> checksums;
  for (std::uint64_t piece = 0; piece < pieces; ++piece) {
    const auto length = take<std::uint64_t>(bytes, pieces_at + piece * 8);
    if (length > bytes.size() - at) return;
    checksums.push_back(checksum_64(std::span(bytes).subspan(at, length)));
    at += length;
  }
  if (bytes.size() - at < checksums.size() * 8 + 8) return;
  const std::size_t trailer = at;
  for (const std::uint64_t checksum : checksums) {
    put(bytes, at, checksum);
    at += 8;
  }
  put(bytes, at, checksum_64(std::span(bytes).subspan(trailer, at - trailer)));
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data, size)).subspan(1);
  std::vector<std::byte> bytes(input.begin(), input.end());
  if (data[0] == '!') make_right(bytes);
  Result<BlockReader> reader = BlockReader::open(std::make_unique<BytesFile>(bytes));
  if (!reader) {
    CHECK(reader.error().code == ErrorCode::corrupt, "a bad block is corrupt");
    return 0;
  }
  const std::size_t most = reader->head().checkpoint ? kCheckpointTokensMax : static_cast<std::size_t>(kBlockTokens);
  CHECK(!reader->head().tokens.empty() && reader->head().tokens.size() <= most, "a block has its tokens");
  if (!reader->verify()) return 0;
  CHECK(block_file_bytes(reader->head()) <= bytes.size(), "a right block lies inside its file");
  return 0;
}
