#include "engine/zeros/fresh_pages.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <vector>

#include "platform/memory.h"

namespace pensieve {
namespace {

TEST(FreshPages, AllIsZeroAndWhatLiesBesideItStays) {
  std::vector<std::byte> memory(kFreshPagesMin + 100'000, std::byte{7});
  const auto inside = std::span(memory).subspan(4321, kFreshPagesMin + 12'345);
  if (!zero_by_fresh_pages(inside)) GTEST_SKIP() << "not on this system";
  const auto is = [](std::byte wanted) { return [wanted](std::byte byte) { return byte == wanted; }; };
  EXPECT_TRUE(std::ranges::all_of(inside, is(std::byte{0})));
  EXPECT_TRUE(std::ranges::all_of(std::span(memory).first(4321), is(std::byte{7})));
  EXPECT_TRUE(std::ranges::all_of(std::span(memory).subspan(4321 + inside.size()), is(std::byte{7})));
}

// What is planned is taken at once: a ceiling that is reached only later would be found out too late.
TEST(FreshPages, AllOfItIsPresent) {
  constexpr std::size_t kBytes = 2 * kFreshPagesMin;
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  if (!zero_by_fresh_pages({static_cast<std::byte*>(memory), kBytes})) GTEST_SKIP() << "not on this system";
  std::vector<unsigned char> present(kBytes / 4096);
  ASSERT_EQ(::mincore(memory, kBytes, present.data()), 0);
  EXPECT_TRUE(std::ranges::all_of(present, [](unsigned char page) { return (page & 1) != 0; }));
  ::munmap(memory, kBytes);
}

TEST(FreshPages, OfLittleItIsRefused) {
  std::vector<std::byte> little(1000, std::byte{7});
  EXPECT_FALSE(zero_by_fresh_pages(little));
  EXPECT_EQ(little[500], std::byte{7});
}

}  // namespace
}  // namespace pensieve
