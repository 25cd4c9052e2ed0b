// What tests stand on that run a program of another package as a child.
#pragma once

#include <gtest/gtest.h>

#include <csignal>

#include "documents/bounded_run.h"

namespace pensieve {

class ProgramTest : public ::testing::Test {
 protected:
  ProgramTest(const char* program, const char* package) : program_(program), package_(package) {}
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);  // As the server does.
    ASSERT_FALSE(find_on_path(program_).empty()) << "scripts/install-packages test brings " << package_;
  }

 private:
  const char* program_;
  const char* package_;
};

}  // namespace pensieve
