#include "cache/block_file.h"

#include <array>
#include <cstring>

#include "base/check.h"
#include "cache/checksum.h"

namespace pensieve {
namespace {

constexpr std::array<char, 8> kMagic = {'P', 'N', 'S', 'V', 'K', 'V', '1', '\n'};
constexpr std::array<char, 8> kCheckpointMagic = {'P', 'N', 'S', 'V', 'S', 'T', '1', '\n'};
constexpr std::uint32_t kPiecesMax = 1u << 16;
constexpr std::uint64_t kPieceBytesMax = std::uint64_t{1} << 32;
constexpr std::size_t kFixedBytes = kMagic.size() + 8 + 2 * sizeof(BlockKey);

std::size_t tokens_max(bool checkpoint) { return checkpoint ? kCheckpointTokensMax : static_cast<std::size_t>(kBlockTokens); }

std::size_t head_bytes(std::size_t tokens, std::size_t pieces) { return kFixedBytes + tokens * sizeof(TokenId) + pieces * 8 + 8; }
std::size_t trailer_bytes(std::size_t pieces) { return pieces * 8 + 8; }

class Packer {
 public:
  template <typename T>
  void put(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void seal() { put(checksum_64(bytes_)); }
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <typename T>
  T take() {
    T value;
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_ = bytes_.subspan(sizeof(T));
    return value;
  }

 private:
  std::span<const std::byte> bytes_;
};

bool sealed(std::span<const std::byte> bytes) {
  std::uint64_t given = 0;
  std::memcpy(&given, bytes.data() + bytes.size() - sizeof(given), sizeof(given));
  return given == checksum_64(bytes.first(bytes.size() - sizeof(given)));
}

Error corrupt(const char* what) { return {ErrorCode::corrupt, what}; }

}  // namespace

std::uint64_t block_file_bytes(const BlockHead& head) {
  std::uint64_t sum = head_bytes(head.tokens.size(), head.piece_bytes.size()) + trailer_bytes(head.piece_bytes.size());
  for (const std::uint64_t bytes : head.piece_bytes) sum += bytes;
  return sum;
}

Result<BlockWriter> BlockWriter::begin(std::unique_ptr<File> file, const BlockHead& head) {
  CHECK(!head.tokens.empty() && head.tokens.size() <= tokens_max(head.checkpoint), "a block holds up to kBlockTokens tokens");
  Packer packer;
  packer.put(head.checkpoint ? kCheckpointMagic : kMagic);
  packer.put(static_cast<std::uint32_t>(head.tokens.size()));
  packer.put(static_cast<std::uint32_t>(head.piece_bytes.size()));
  packer.put(head.key);
  packer.put(head.parent);
  for (const TokenId token : head.tokens) packer.put(token);
  for (const std::uint64_t bytes : head.piece_bytes) packer.put(bytes);
  packer.seal();
  BlockWriter writer(std::move(file));
  if (Result<void> written = writer.file_->append(packer.bytes()); !written) return std::move(written).error();
  return writer;
}

Result<void> BlockWriter::append(std::span<const std::byte> piece) {
  checksums_.push_back(checksum_64(piece));
  return file_->append(piece);
}

Result<void> BlockWriter::finish() {
  Packer packer;
  for (const std::uint64_t checksum : checksums_) packer.put(checksum);
  packer.seal();
  return file_->append(packer.bytes());
}

Result<BlockReader> BlockReader::open(std::unique_ptr<File> file) {
  BlockReader reader(std::move(file));
  std::vector<std::byte> head(kFixedBytes);
  if (Result<void> read = reader.file_->read_at(0, head); !read) return std::move(read).error();
  Unpacker fixed(head);
  const auto magic = fixed.take<std::array<char, 8>>();
  if (magic != kMagic && magic != kCheckpointMagic) return corrupt("it does not begin as a block does");
  reader.head_.checkpoint = magic == kCheckpointMagic;
  const auto tokens = fixed.take<std::uint32_t>();
  const auto pieces = fixed.take<std::uint32_t>();
  if (tokens == 0 || tokens > tokens_max(reader.head_.checkpoint) || pieces > kPiecesMax) return corrupt("its head has absurd counts");
  head.resize(head_bytes(tokens, pieces));
  if (Result<void> read = reader.file_->read_at(0, head); !read) return std::move(read).error();
  if (!sealed(head)) return corrupt("its head does not match its checksum");

  Unpacker from{std::span<const std::byte>(head).subspan(kMagic.size() + 8)};
  reader.head_.key = from.take<BlockKey>();
  reader.head_.parent = from.take<BlockKey>();
  for (std::uint32_t i = 0; i < tokens; ++i) reader.head_.tokens.push_back(from.take<TokenId>());
  if (child_of(reader.head_.parent, reader.head_.tokens) != reader.head_.key) return corrupt("its name does not follow from its tokens");
  std::uint64_t offset = head.size();
  for (std::uint32_t i = 0; i < pieces; ++i) {
    const auto bytes = from.take<std::uint64_t>();
    if (bytes > kPieceBytesMax) return corrupt("its head has absurd sizes");
    reader.head_.piece_bytes.push_back(bytes);
    reader.offsets_.push_back(offset);
    offset += bytes;
  }
  std::vector<std::byte> trailer(trailer_bytes(pieces));
  if (Result<void> read = reader.file_->read_at(offset, trailer); !read) return std::move(read).error();
  if (!sealed(trailer)) return corrupt("its end does not match its checksum");
  Unpacker ends(trailer);
  for (std::uint32_t i = 0; i < pieces; ++i) reader.checksums_.push_back(ends.take<std::uint64_t>());
  return reader;
}

Result<void> BlockReader::read(std::size_t piece, std::span<std::byte> out) {
  CHECK(piece < offsets_.size() && out.size() == head_.piece_bytes[piece], "a piece is read whole");
  if (Result<void> read = file_->read_at(offsets_[piece], out); !read) return read;
  if (checksum_64(out) != checksums_[piece]) return corrupt("its content does not match its checksum");
  return {};
}

Result<void> BlockReader::verify() {
  std::vector<std::byte> buffer;
  for (std::size_t piece = 0; piece < offsets_.size(); ++piece) {
    buffer.resize(head_.piece_bytes[piece]);
    if (Result<void> good = read(piece, buffer); !good) return good;
  }
  return {};
}

}  // namespace pensieve
