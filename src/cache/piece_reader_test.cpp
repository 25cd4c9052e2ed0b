#include "cache/piece_reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "platform/failing_files.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieces = 64;

class PieceReaderTest : public ::testing::Test {
 protected:
  PieceReaderTest() {
    std::string name = (fs::temp_directory_path() / "pensieve-pieces-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ + "/block";
  }
  ~PieceReaderTest() override { fs::remove_all(folder_); }

  static std::vector<std::byte> content(std::size_t piece, std::size_t bytes) {
    std::vector<std::byte> all(bytes);
    for (std::size_t i = 0; i < bytes; ++i) all[i] = static_cast<std::byte>((piece * 131 + i * 7 + i / 251) & 0xff);
    return all;
  }

  void write(std::size_t piece_bytes) {
    const BlockKey root = fingerprint_of("a model");
    BlockHead head{{}, root, {1, 2, 3}, std::vector<std::uint64_t>(kPieces, piece_bytes)};
    head.key = child_of(root, head.tokens);
    auto writer = BlockWriter::begin(*real_files().create(path_), head);
    for (std::size_t piece = 0; piece < kPieces; ++piece) ASSERT_TRUE(writer->append(content(piece, piece_bytes)));
    ASSERT_TRUE(writer->finish());
    piece_bytes_ = piece_bytes;
  }

  // The pieces from `first` on, each compared with what was written; or the error.
  Result<void> read(BlockReader& block, std::size_t first, std::size_t count, int threads) {
    std::vector<std::vector<std::byte>> all(count, std::vector<std::byte>(piece_bytes_));
    const std::vector<std::span<std::byte>> places(all.begin(), all.end());
    Result<void> outcome = read_pieces(block, first, places, threads);
    for (std::size_t i = 0; outcome && i < count; ++i) EXPECT_EQ(all[i], content(first + i, piece_bytes_)) << first + i;
    return outcome;
  }

  std::string folder_, path_;
  std::size_t piece_bytes_ = 0;
};

TEST_F(PieceReaderTest, ReadsEachIntoItsPlace) {
  for (const std::size_t bytes : {std::size_t{100}, kPiecesWorthThreads / kPieces + 1}) {
    write(bytes);
    auto block = BlockReader::open(*real_files().open(path_));
    for (const int threads : {1, 2, 3, 8}) {
      EXPECT_TRUE(read(*block, 0, kPieces, threads)) << threads << " threads, " << bytes << " bytes each";
      EXPECT_TRUE(read(*block, 7, 5, threads));
      EXPECT_TRUE(read(*block, kPieces, 0, threads));
    }
  }
}

TEST_F(PieceReaderTest, SaysWhatTheFirstBadOneHas) {
  write(kPiecesWorthThreads / kPieces + 1);
  {
    FailingFiles files;
    auto block = BlockReader::open(*files.open(path_));
    files.fail_from = files.calls + 11;
    for (const int threads : {1, 3}) EXPECT_EQ(read(*block, 0, kPieces, threads).error().code, ErrorCode::overloaded) << threads;
  }
  // Piece 40 is damaged, and piece 50 is not there whole.
  const auto begin = fs::file_size(path_) - kPieces * (piece_bytes_ + 8) - 8;
  auto block = BlockReader::open(*real_files().open(path_));
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(begin + 40 * piece_bytes_ + 9));
  file.put('\x55');
  file.close();
  fs::resize_file(path_, begin + 50 * piece_bytes_ + 9);
  for (const int threads : {1, 2, 3, 8}) {
    EXPECT_EQ(read(*block, 0, kPieces, threads).error().message, "its content does not match its checksum") << threads;
    EXPECT_TRUE(read(*block, 0, 40, threads)) << threads;
    EXPECT_NE(read(*block, 41, kPieces - 41, threads).error().message.find("is shorter than it should be"), std::string::npos) << threads;
  }
}

}  // namespace
}  // namespace pensieve
