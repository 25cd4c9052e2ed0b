#include "documents/bounded_run.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/clock.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

BoundedRun shell(std::string script) {
  std::signal(SIGPIPE, SIG_IGN);  // As the server does.
  BoundedRun run;
  run.argv = {"/bin/sh", "-c", std::move(script)};
  run.limits.stranger = true;
  return run;
}

TEST(BoundedRun, WhatGoesInComesOut) {
  const std::string input(3 << 20, 'x');  // More than any pipe holds.
  BoundedRun run = shell("cat");
  run.output_bytes_max = 4 << 20;
  const auto outcome = run_bounded(run, input);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->out, input);
  EXPECT_EQ(outcome->ended, "exit code 0");
}

TEST(BoundedRun, SaysHowItEndedAndWhatItComplainedOf) {
  const auto outcome = run_bounded(shell("echo no >&2; exit 3"), "not read by anybody");
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->ended, "exit code 3");
  EXPECT_EQ(outcome->err, "no\n");
}

TEST(BoundedRun, TimeAndOutputHaveTheirBounds) {
  BoundedRun slow = shell("sleep 60");
  slow.wall_max = 200ms;
  const TimePoint begun = SteadyClock::now();
  const auto late = run_bounded(slow, "");
  ASSERT_TRUE(late.ok());
  EXPECT_TRUE(late->out_of_time);
  EXPECT_LT(SteadyClock::now() - begun, 10s);

  BoundedRun talker = shell("while :; do echo 0123456789; done");
  talker.output_bytes_max = 1000;
  const auto much = run_bounded(talker, "");
  ASSERT_TRUE(much.ok());
  EXPECT_TRUE(much->too_much);
  EXPECT_EQ(much->out.size(), 1000u);
}

TEST(BoundedRun, AStrangerSeesNeitherOurEnvironmentNorOurFilesAndWritesNone) {
  ::setenv("PENSIEVE_SECRET", "s", 1);
  const int ours = ::open("/dev/null", O_RDONLY);  // Not marked to be closed.
  const std::string written = ::testing::TempDir() + "/stranger";
  const auto outcome = run_bounded(shell("echo secret=$PENSIEVE_SECRET; test -e /dev/fd/" + std::to_string(ours) + " && echo open; echo x > " + written + "; echo goes on"), "");
  ::close(ours);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->out, "secret=\ngoes on\n") << "a file that cannot be written is an error, not the end";
  std::error_code ignored;
  EXPECT_EQ(std::filesystem::file_size(written, ignored), 0u);
  std::filesystem::remove(written, ignored);
}

#ifdef __linux__
TEST(BoundedRun, MemoryHasItsBound) {
  BoundedRun run = shell("x=0123456789abcdef; while :; do x=$x$x; done");
  run.limits.data_bytes = 32 << 20;
  const auto outcome = run_bounded(run, "");
  ASSERT_TRUE(outcome.ok());
  EXPECT_FALSE(outcome->out_of_time);
  EXPECT_NE(outcome->ended, "exit code 0");
}
#endif

TEST(BoundedRun, FindsProgramsOnThePath) {
  EXPECT_FALSE(find_on_path("sh").empty());
  EXPECT_EQ(find_on_path("no-program-of-this-name"), "");
}

}  // namespace
}  // namespace pensieve
