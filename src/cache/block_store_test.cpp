#include "cache/block_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "platform/failing_files.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

const BlockKey kPrint = fingerprint_of("a model and an engine");

// A folder of its own for each test.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "pensieve-store-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<TokenId> conversation(int number, int blocks) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(blocks) * kBlockTokens);
  std::iota(tokens.begin(), tokens.end(), number * 100'000);
  return tokens;
}

// What a piece of a block must hold, whoever reads it.
std::vector<std::byte> content(const BlockKey& key, std::size_t piece) {
  std::vector<std::byte> bytes(piece == 0 ? 3000 : 500);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>((key.low >> (i % 8 * 8)) + piece + i);
  return bytes;
}
const std::uint64_t kFileBytes = block_file_bytes({{}, {}, std::vector<TokenId>(kBlockTokens), {3000, 500}});

bool put(BlockStore& store, const std::vector<TokenId>& tokens, std::size_t block, std::chrono::seconds pinned_for = 0s) {
  const auto chain = chain_of(kPrint, tokens);
  const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(block) * kBlockTokens;
  if (!store.begin({chain[block], block == 0 ? kPrint : chain[block - 1], {first, first + kBlockTokens}, {3000, 500}}, pinned_for)) return false;
  for (std::size_t piece = 0; piece < 2; ++piece) store.append(content(chain[block], piece));
  return true;
}

void put_all(BlockStore& store, const std::vector<TokenId>& tokens) {
  for (std::size_t block = 0; block < tokens.size() / kBlockTokens; ++block) put(store, tokens, block);
  EXPECT_TRUE(store.flush(SteadyClock::now() + 10s));
}

// How many blocks of the conversation can be read; every byte that is read must be right.
int readable(BlockStore& store, const std::vector<TokenId>& tokens) {
  const auto chain = chain_of(kPrint, tokens);
  int count = 0;
  for (std::size_t block = 0; block < store.longest_chain(chain); ++block) {
    auto reader = store.read(chain[block], block == 0 ? kPrint : chain[block - 1]);
    if (!reader) return count;
    EXPECT_TRUE(std::ranges::equal(reader->head().tokens, std::span(tokens).subspan(block * kBlockTokens, kBlockTokens)));
    for (std::size_t piece = 0; piece < 2; ++piece) {
      std::vector<std::byte> bytes(piece == 0 ? 3000 : 500);
      if (!reader->read(piece, bytes)) return count;
      EXPECT_EQ(bytes, content(chain[block], piece));
    }
    ++count;
  }
  return count;
}

// The tail of a chain of `blocks` blocks: the first `count` tokens after them.
BlockHead tail_of(const std::vector<TokenId>& tokens, std::size_t blocks, std::size_t count) {
  const auto chain = chain_of(kPrint, std::span(tokens).first(blocks * kBlockTokens));
  const BlockKey parent = chain.empty() ? kPrint : chain.back();
  const auto inside = std::span(tokens).subspan(blocks * kBlockTokens, count);
  return {child_of(parent, inside), parent, {inside.begin(), inside.end()}, {3000, 500}};
}
bool put_head(BlockStore& store, const BlockHead& head, std::vector<BlockKey> replaces = {}) {
  if (!store.begin(head, 0s, replaces)) return false;
  for (std::size_t piece = 0; piece < 2; ++piece) store.append(content(head.key, piece));
  return store.flush(SteadyClock::now() + 10s);
}

std::unique_ptr<BlockStore> opened(Files& files, StoreOptions options, const BlockKey& print = kPrint) {
  options.free_min = 0;
  auto store = BlockStore::open(files, options, print, "{}");
  return store ? *std::move(store) : nullptr;
}

TEST(BlockStore, FindsTheLongestChainAgainAfterAReopen) {
  const Folder folder;
  const auto tokens = conversation(1, 5);
  {
    auto store = opened(real_files(), {folder.path()});
    EXPECT_EQ(store->longest_chain(chain_of(kPrint, tokens)), 0u);
    put_all(*store, tokens);
    EXPECT_EQ(readable(*store, tokens), 5);
    EXPECT_FALSE(put(*store, tokens, 2)) << "it is there";
  }
  auto store = opened(real_files(), {folder.path()});
  EXPECT_EQ(readable(*store, tokens), 5);
  EXPECT_EQ(store->stats().blocks, 5u);
  EXPECT_EQ(store->stats().bytes, 5 * kFileBytes);
  auto fork = tokens;
  fork[3 * kBlockTokens + 7] = 1;
  EXPECT_EQ(readable(*store, fork), 3);
}

TEST(BlockStore, HoldsSoManyBlocksAtMostAndTheOldestGoFirst) {
  const Folder folder;
  StoreOptions options{folder.path()};
  options.blocks_max = 4;
  {
    auto store = opened(real_files(), options);
    for (int number = 1; number <= 10; ++number) put_all(*store, conversation(number, 1));
    EXPECT_EQ(store->stats().blocks, 4u);
    EXPECT_EQ(store->stats().blocks_evicted, 6u);
    EXPECT_EQ(readable(*store, conversation(6, 1)), 0);
    EXPECT_EQ(readable(*store, conversation(7, 1)), 1);
    put_all(*store, conversation(20, 3));
    EXPECT_EQ(readable(*store, conversation(20, 3)), 3) << "whole chains, too";
    EXPECT_EQ(readable(*store, conversation(10, 1)), 1);
  }
  options.blocks_max = 2;  // What an earlier one left there.
  auto store = opened(real_files(), options);
  EXPECT_EQ(store->stats().blocks, 2u);
  EXPECT_EQ(readable(*store, conversation(20, 3)), 2) << "a chain shrinks from its end";
}

TEST(BlockStore, TheBlockThatSharesMostIsFoundBehindAChain) {
  const Folder folder;
  const auto tokens = conversation(1, 3);
  auto other = tokens;
  other[2 * kBlockTokens + 50] = 1;
  {
    auto store = opened(real_files(), {folder.path()});
    put_all(*store, {tokens.begin(), tokens.begin() + 2 * kBlockTokens});
    EXPECT_TRUE(put_head(*store, tail_of(tokens, 2, 40)));
    EXPECT_TRUE(put_head(*store, tail_of(tokens, 2, 100)));
    EXPECT_TRUE(put_head(*store, tail_of(other, 2, 200)));
    EXPECT_FALSE(put_head(*store, tail_of(tokens, 2, 100))) << "it is there";
  }
  auto store = opened(real_files(), {folder.path()});
  const auto chain = chain_of(kPrint, tokens);
  const auto rest = std::span(tokens).subspan(2 * kBlockTokens);
  const auto best = [&](std::span<const TokenId> wanted, std::int32_t least = 8) {
    const auto found = store->best_partial(chain[1], wanted, least);
    return found ? std::pair(found->common, found->tokens) : std::pair(0, 0);
  };
  EXPECT_EQ(best(rest), std::pair(100, 100));
  EXPECT_EQ(best(rest.first(70)), std::pair(70, 100));
  EXPECT_EQ(best(std::span(other).subspan(2 * kBlockTokens)), std::pair(200, 200));
  EXPECT_EQ(best(rest, 101), std::pair(0, 0));
  EXPECT_FALSE(store->best_partial(chain[0], rest, 8));
  // A whole block is no worse than a tail.
  put_head(*store, tail_of(tokens, 2, kBlockTokens), {tail_of(tokens, 2, 100).key});
  EXPECT_EQ(best(rest.first(120)), std::pair(120, kBlockTokens));
  EXPECT_FALSE(store->has(tail_of(tokens, 2, 100).key)) << "the longer one took its place";
  // Others may go on from where one ends, whichever was used last.
  auto third = tokens;
  third[2 * kBlockTokens + 40] = 2;
  const auto third_rest = std::span(third).subspan(2 * kBlockTokens);
  for (const BlockKey& last : {tail_of(tokens, 2, 40).key, tail_of(tokens, 2, kBlockTokens).key}) {
    store->used(std::array{last});
    EXPECT_EQ(best(third_rest), std::pair(40, 40));
  }
  EXPECT_TRUE(store->has(tail_of(tokens, 2, 40).key));
}

TEST(BlockStore, ATailCountsForSizeAndBudgetAndIsVerified) {
  const Folder folder;
  const auto tokens = conversation(1, 2);
  const BlockHead tail = tail_of(tokens, 1, 30);
  StoreOptions options{folder.path()};
  options.writes_per_day_max = kFileBytes + block_file_bytes(tail) + 10;
  auto store = opened(real_files(), options);
  put(*store, tokens, 0);
  EXPECT_TRUE(put_head(*store, tail));
  EXPECT_EQ(store->stats().bytes, kFileBytes + block_file_bytes(tail));
  EXPECT_FALSE(put_head(*store, tail_of(tokens, 1, 40))) << "the day's budget is spent";
  std::string path;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (entry.path().filename().string().starts_with(hex(tail.key))) path = entry.path().string();
  }
  ASSERT_EQ(fs::file_size(path), block_file_bytes(tail));
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(60);  // One of its tokens.
  file.put('x');
  file.close();
  EXPECT_FALSE(store->best_partial(chain_of(kPrint, tokens)[0], std::span(tokens).subspan(kBlockTokens), 8));
  EXPECT_EQ(store->stats().blocks_set_aside, 1u);
}

TEST(BlockStore, AnotherModelEngineOrTypeNeverFindsABlock) {
  const Folder folder;
  const auto tokens = conversation(1, 2);
  put_all(*opened(real_files(), {folder.path()}), tokens);
  const BlockKey other = fingerprint_of("another engine");
  auto store = opened(real_files(), {folder.path()}, other);
  EXPECT_EQ(store->longest_chain(chain_of(other, tokens)), 0u);
  EXPECT_EQ(store->longest_chain(chain_of(kPrint, tokens)), 0u) << "even by its name";
  EXPECT_EQ(store->stats().blocks, 2u) << "but it counts for the size";
}

TEST(BlockStore, EvictsFromTheEndOfTheChainUsedLongestAgo) {
  const Folder folder;
  auto store = opened(real_files(), {folder.path(), 6 * kFileBytes});
  const auto a = conversation(1, 3), b = conversation(2, 3), c = conversation(3, 2);
  put_all(*store, a);
  put_all(*store, b);
  store->used(chain_of(kPrint, a));
  put_all(*store, c);
  EXPECT_EQ(readable(*store, a), 3);
  EXPECT_EQ(readable(*store, b), 1) << "a chain shrinks from its end";
  EXPECT_EQ(readable(*store, c), 2);
  EXPECT_LE(store->stats().bytes, 6 * kFileBytes);
  EXPECT_EQ(store->stats().blocks_evicted, 2u);
}

TEST(BlockStore, WhatIsPinnedStaysUntilItsTime) {
  const Folder folder;
  auto store = opened(real_files(), {folder.path(), 4 * kFileBytes});
  const auto a = conversation(1, 2), b = conversation(2, 2), c = conversation(3, 2);
  put_all(*store, a);
  store->used(chain_of(kPrint, a), 1h);
  put_all(*store, b);
  put_all(*store, c);
  EXPECT_EQ(readable(*store, a), 2);
  EXPECT_EQ(readable(*store, c), 2);
  store.reset();
  store = opened(real_files(), {folder.path(), 4 * kFileBytes});
  put_all(*store, b);
  EXPECT_EQ(readable(*store, a), 2) << "also after a restart";
}

TEST(BlockStore, ABlockCanBePinnedAsItIsWritten) {
  const Folder folder;
  auto store = opened(real_files(), {folder.path(), 3 * kFileBytes});
  put(*store, conversation(1, 1), 0, 1h);
  for (int other = 2; other < 8; ++other) put_all(*store, conversation(other, 1));
  EXPECT_EQ(readable(*store, conversation(1, 1)), 1);
  store.reset();
  store = opened(real_files(), {folder.path(), 3 * kFileBytes});
  for (int other = 12; other < 16; ++other) put_all(*store, conversation(other, 1));
  EXPECT_EQ(readable(*store, conversation(1, 1)), 1);
}

TEST(BlockStore, WritesNoMoreThanTheDaysBudgetAlsoAcrossRestarts) {
  const Folder folder;
  StoreOptions options{folder.path()};
  options.writes_per_day_max = 3 * kFileBytes + 10;
  put_all(*opened(real_files(), options), conversation(1, 2));
  auto store = opened(real_files(), options);
  put_all(*store, conversation(2, 5));
  EXPECT_EQ(readable(*store, conversation(2, 5)), 1);
  EXPECT_EQ(store->stats().blocks, 3u);
}

TEST(BlockStore, ABlockThatIsTooOldGoes) {
  const Folder folder;
  const auto tokens = conversation(1, 2);
  put_all(*opened(real_files(), {folder.path()}), tokens);
  StoreOptions options{folder.path()};
  options.age_max = 0h;
  EXPECT_EQ(opened(real_files(), options)->stats().blocks, 0u);
}

TEST(BlockStore, AnyFlippedBitIsSeen) {
  const Folder folder;
  const auto tokens = conversation(1, 1);
  put_all(*opened(real_files(), {folder.path()}), tokens);
  std::string path;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
    if (entry.path().extension() == ".kv") path = entry.path().string();
  }
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  ASSERT_EQ(whole.size(), kFileBytes);
  const auto damaged = [&](const std::string& bytes, std::size_t at) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    auto store = opened(real_files(), {folder.path()});
    EXPECT_EQ(readable(*store, tokens), 0) << at;
  };
  for (std::size_t at = 0; at < whole.size(); at += at < 1300 ? 13 : 101) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    damaged(bytes, at);
  }
  for (std::size_t length = 0; length < whole.size(); length += 97) damaged(whole.substr(0, length), length);
}

// Every call that the store makes fails once, and from there on: nothing is lost
// but blocks, and no block is ever read wrongly.
TEST(BlockStore, SurvivesAFailureOfAnyCall) {
  const auto tokens = conversation(1, 4);
  with_every_call_failing({ErrorCode::overloaded, ErrorCode::internal, ErrorCode::corrupt}, 500, [&](FailingFiles& files, int nth) {
    const Folder folder;
    auto store = opened(files, {folder.path()});
    if (store) {
      put_all(*store, tokens);
      readable(*store, tokens);
      put_all(*store, conversation(2, 2));
      readable(*store, tokens);
    }
    const bool got_through = !files.met();
    store.reset();
    FailingFiles well;
    auto after = opened(well, {folder.path()});
    ASSERT_TRUE(after);
    const int kept = readable(*after, tokens);
    EXPECT_TRUE(!got_through || kept == 4);
    put_all(*after, tokens);
    EXPECT_EQ(readable(*after, tokens), 4) << "call " << nth;
  });
}

// A disk that loses what was not synced: the file has its name and its length, not its content.
TEST(BlockStore, APowerLossNeverMakesAWrongBlock) {
  const auto tokens = conversation(1, 3);
  for (int lost = 0; lost < 3; ++lost) {
    const Folder folder;
    put_all(*opened(real_files(), {folder.path()}), tokens);
    const auto chain = chain_of(kPrint, tokens);
    for (const auto& entry : fs::recursive_directory_iterator(folder.path())) {
      if (!entry.path().filename().string().starts_with(hex(chain[static_cast<std::size_t>(lost)]))) continue;
      const auto size = fs::file_size(entry.path());
      std::ofstream(entry.path(), std::ios::binary | std::ios::trunc) << std::string(size, '\0');
    }
    auto store = opened(real_files(), {folder.path()});
    EXPECT_EQ(readable(*store, tokens), lost);
    EXPECT_EQ(store->stats().blocks_set_aside, 1u);
    put_all(*store, tokens);
    EXPECT_EQ(readable(*store, tokens), 3);
  }
}

TEST(BlockStore, AFullDiskSwitchesWritingOffAndReadingGoesOn) {
  const Folder folder;
  FailingFiles files;
  auto store = opened(files, {folder.path()});
  const auto tokens = conversation(1, 2);
  put_all(*store, tokens);
  files.fail_from = files.calls + 1;
  files.fail_to = files.fail_from + 4;
  put_all(*store, conversation(2, 3));
  files.fail_from = 1 << 30;
  EXPECT_NE(store->stats().problem, "");
  EXPECT_FALSE(put(*store, conversation(4, 1), 0));
  EXPECT_EQ(readable(*store, tokens), 2);
}

}  // namespace
}  // namespace pensieve
