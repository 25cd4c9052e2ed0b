// The file operations, against folders that look like the kernel's. What the kernel itself does
// with them is tests/memory/group.test.mjs.
#include "platform/worker_group.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "platform/child_process.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }
std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class WorkerGroupTest : public ::testing::Test {
 protected:
  WorkerGroupTest() {
    std::string name = (fs::temp_directory_path() / "pensieve-groups-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    own_ = root_ / "unified/user.slice/pensieve.service";
    fs::create_directories(own_);
    write(root_ / "mounts", "proc /proc proc rw 0 0\ncgroup2 " + (root_ / "unified").string() + " cgroup2 rw,nosuid 0 0\n");
    write(root_ / "cgroup", "4:memory:/elsewhere\n0::/user.slice/pensieve.service\n");
    write(own_ / "cgroup.controllers", "cpu memory pids\n");
    write(own_ / "cgroup.subtree_control", "");
    write(own_ / "cgroup.procs", std::to_string(::getpid()) + "\n");
  }
  ~WorkerGroupTest() override { fs::remove_all(root_); }

  Result<std::unique_ptr<WorkerGroup>> make(const std::string& place = {}) { return WorkerGroup::make(place, 123456789, {root_ / "cgroup", root_ / "mounts"}); }
  std::string why() {
    auto made = make();
    return made ? "" : made.error().message;
  }
  fs::path leaf(const std::string& kind) const { return own_ / ("pensieve-" + kind + "-" + std::to_string(::getpid())); }

  fs::path root_, own_;
};

TEST_F(WorkerGroupTest, ADelegatedGroupGetsALeafForTheServerAndALimitForTheWorker) {
  auto group = make();
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_EQ(read(leaf("server") / "cgroup.procs"), "0");
  EXPECT_EQ(read(own_ / "cgroup.subtree_control"), "+memory");
  EXPECT_EQ((*group)->folder(), leaf("worker"));
  EXPECT_EQ(read(leaf("worker") / "memory.max"), "123456789");
  EXPECT_EQ(read(leaf("worker") / "memory.oom.group"), "1");
  EXPECT_EQ(read(leaf("worker") / "memory.swap.max"), "0");
}

TEST_F(WorkerGroupTest, WhereMemoryIsGivenOutAlreadyNobodyMoves) {
  write(own_ / "cgroup.subtree_control", "cpu memory\n");
  write(own_ / "cgroup.procs", "1\n");
  auto group = make();
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_FALSE(fs::exists(leaf("server")));
  EXPECT_EQ(read(own_ / "cgroup.subtree_control"), "cpu memory\n");
}

TEST_F(WorkerGroupTest, ItSaysWhyThereIsNone) {
  write(own_ / "cgroup.procs", std::to_string(::getpid()) + "\n1\n");
  EXPECT_NE(why().find("other processes (such as 1)"), std::string::npos) << why();
  EXPECT_FALSE(fs::exists(leaf("server"))) << "nothing is begun that cannot be done";
  write(own_ / "cgroup.controllers", "cpu pids\n");
  EXPECT_NE(why().find("no memory controller"), std::string::npos) << why();
  write(root_ / "cgroup", "4:memory:/elsewhere\n");
  EXPECT_EQ(why(), "there is no cgroup v2");
  const auto nowhere = make((root_ / "nowhere").string());
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, ErrorCode::not_found);
}

TEST_F(WorkerGroupTest, ANamedFolderOfVersionTwoGivesOutMemory) {
  const fs::path place = root_ / "unified/pensieve";
  fs::create_directories(place);
  write(place / "cgroup.subtree_control", "");
  auto group = make(place.string());
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_EQ(read(place / "cgroup.subtree_control"), "+memory");
  EXPECT_EQ(read(fs::path((*group)->folder()) / "memory.max"), "123456789");
}

TEST_F(WorkerGroupTest, ANamedFolderMayBeOfVersionOne) {
  const fs::path place = root_ / "memory/pensieve";
  fs::create_directories(place);
  write(place / "memory.limit_in_bytes", "9223372036854771712\n");
  auto group = make(place.string());
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_EQ(read(fs::path((*group)->folder()) / "memory.limit_in_bytes"), "123456789");
  EXPECT_FALSE(fs::exists(fs::path((*group)->folder()) / "memory.max"));
  write(fs::path((*group)->folder()) / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n");
  EXPECT_EQ((*group)->kills(), 3u);
}

TEST_F(WorkerGroupTest, AChildJoinsBeforeItRuns) {
  auto group = make();
  ASSERT_TRUE(group);
  write((*group)->members_file(), "");
  ChildLimits limits;
  limits.members_file = (*group)->members_file();
  auto child = ChildProcess::spawn({"/bin/cat", (*group)->members_file()}, limits);
  ASSERT_TRUE(child);
  char said[8] = {};
  const int out = child->release_stdout();
  EXPECT_EQ(::read(out, said, sizeof said), 1);
  ::close(out);
  EXPECT_STREQ(said, "0") << "the program found itself a member when it began";
}

TEST_F(WorkerGroupTest, MembersAndKillsAreReadAndTheFolderGoes) {
  auto group = make();
  ASSERT_TRUE(group);
  const fs::path folder = (*group)->folder();
  write((*group)->members_file(), "17\n" + std::to_string(::getpid()) + "\n");
  EXPECT_TRUE((*group)->holds(::getpid()));
  EXPECT_FALSE((*group)->holds(1));
  EXPECT_EQ((*group)->kills(), 0u);
  write(folder / "memory.events", "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\n");
  EXPECT_EQ((*group)->kills(), 2u);
  for (const auto& entry : fs::directory_iterator(folder)) fs::remove(entry);  // The kernel's are no files of the folder.
  group->reset();
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(WorkerGroupTest, WhatAKilledServerLeftGoesWithTheNextOne) {
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ::waitpid(gone, nullptr, 0);
  const fs::path left = own_ / ("pensieve-worker-" + std::to_string(gone));
  const fs::path alive = own_ / "pensieve-worker-1";
  fs::create_directory(left);
  fs::create_directory(alive);
  ASSERT_TRUE(make());
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(alive)) << "process 1 is there";
}

}  // namespace
}  // namespace pensieve
