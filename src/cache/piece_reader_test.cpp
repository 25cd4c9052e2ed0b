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

  // How many pieces could be read, each as it was written; then an error, or the end.
  std::size_t read(Files& files, int threads) {
    auto block = BlockReader::open(*files.open(path_));
    EXPECT_TRUE(block);
    PieceReader pieces(*block, threads);
    for (std::size_t piece = 0; piece < kPieces; ++piece) {
      const auto bytes = pieces.next();
      if (!bytes) return piece;
      EXPECT_TRUE(std::ranges::equal(*bytes, content(piece, piece_bytes_))) << piece;
    }
    return kPieces;
  }

  std::string folder_, path_;
  std::size_t piece_bytes_ = 0;
};

TEST_F(PieceReaderTest, GivesEveryPieceInOrder) {
  for (const std::size_t bytes : {std::size_t{100}, PieceReader::kWorthThreads / kPieces + 1}) {
    write(bytes);
    for (const int threads : {0, 1, 2, 3, 8}) EXPECT_EQ(read(real_files(), threads), kPieces) << threads << " threads, " << bytes << " bytes each";
  }
}

TEST_F(PieceReaderTest, StopsAtTheFirstThatIsDamagedOrCannotBeRead) {
  write(PieceReader::kWorthThreads / kPieces + 1);
  {
    FailingFiles files;
    auto block = BlockReader::open(*files.open(path_));
    files.fail_from = files.calls + 11;
    PieceReader pieces(*block, 3);
    std::size_t good = 0;
    while (pieces.next()) ++good;
    EXPECT_LE(good, 10u);
    EXPECT_GE(good, 4u) << "as many as lie in buffers may have been read before a slow one";
  }
  const auto begin = fs::file_size(path_) - kPieces * (piece_bytes_ + 8) - 8;
  std::fstream file(path_, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(begin + 40 * piece_bytes_ + 9));
  file.put('\x55');
  file.close();
  for (const int threads : {0, 1, 3}) EXPECT_EQ(read(real_files(), threads), 40u) << threads;
}

TEST_F(PieceReaderTest, MayBeLeftAtAnyPiece) {
  write(PieceReader::kWorthThreads / kPieces + 1);
  for (std::size_t taken = 0; taken < kPieces; taken += 5) {
    auto block = BlockReader::open(*real_files().open(path_));
    PieceReader pieces(*block, 3);
    for (std::size_t piece = 0; piece < taken; ++piece) ASSERT_TRUE(pieces.next());
  }
}

}  // namespace
}  // namespace pensieve
