#include "platform/cores.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

namespace pensieve {
namespace {

namespace fs = std::filesystem;

const GroupFiles kNone{"/nowhere", "/nowhere"};

#ifdef __linux__
TEST(Cores, AThreadThatIsBoundToOneHasOne) {
  int bound = 0, before = 0;
  std::thread([&] {
    before = usable_cores(kNone);
    cpu_set_t all, one;
    CPU_ZERO(&all);
    ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
    int first = 0;
    while (!CPU_ISSET(first, &all)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    bound = usable_cores(kNone);
  }).join();
  EXPECT_GE(before, 1);
  EXPECT_EQ(bound, 1);
}
#endif

class Quota : public ::testing::Test {
 protected:
  Quota() {
    fs::create_directories(root_ / "outer/inner");
    std::ofstream(root_ / "groups") << "0::/outer/inner\n";
    std::ofstream(root_ / "mounts") << "cgroup2 " << root_.string() << " cgroup2 rw 0 0\n";
  }
  ~Quota() override { fs::remove_all(root_); }
  int cores(const char* outer, const char* inner) {
    std::ofstream(root_ / "outer/cpu.max") << outer;
    std::ofstream(root_ / "outer/inner/cpu.max") << inner;
    return usable_cores({root_ / "groups", root_ / "mounts"});
  }
  const fs::path root_ = fs::temp_directory_path() / ("pensieve-cores-" + std::to_string(::getpid()));
};

TEST_F(Quota, ComputingLeavesOneOfEightAndMore) {
  const int free = usable_cores(kNone);
  EXPECT_EQ(compute_threads(kNone), free >= 8 ? free - 1 : free);
  EXPECT_EQ(cores("200000 100000\n", "max 100000\n"), std::min(free, 2));
  EXPECT_EQ(compute_threads({root_ / "groups", root_ / "mounts"}), std::min(free, 2));
}

TEST_F(Quota, TheSmallestOfAllGroupsHolds) {
  const int free = usable_cores(kNone);
  EXPECT_EQ(cores("max 100000\n", "max 100000\n"), free);
  EXPECT_EQ(cores("100000 100000\n", "max 100000\n"), 1);
  EXPECT_EQ(cores("max 100000\n", "199999 100000\n"), 1) << "rounded down: threads that wait for each other must all have a core";
  EXPECT_EQ(cores("max 100000\n", "1000 100000\n"), 1) << "never none";
  EXPECT_EQ(cores("99900000 100000\n", "max 100000\n"), free);
  EXPECT_EQ(cores("", "rubbish"), free);
}

}  // namespace
}  // namespace pensieve
