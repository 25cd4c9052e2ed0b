#include "http/guard.h"

#include <gtest/gtest.h>

namespace pensieve::http {
namespace {

TEST(Guard, OnlyNamesOfThisMachineAreAcceptedAsHost) {
  const GuardOptions options{true, "127.0.0.1", {}};
  for (const char* host : {"localhost", "LocalHost:7777", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:7777"}) EXPECT_TRUE(host_allowed(options, host)) << host;
  for (const char* host : {"", "evil.example", "evil.example:7777", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.2", "localhost:7777:1", "[::2]:7777"}) {
    EXPECT_FALSE(host_allowed(options, host)) << host;
  }
  EXPECT_TRUE(host_allowed({false, "0.0.0.0", {}}, "my.machine:7777"));
}

TEST(Guard, AnOriginNeedsToBeAskedFor) {
  EXPECT_TRUE(origin_allowed({}, ""));
  EXPECT_FALSE(origin_allowed({}, "http://evil.example"));
  EXPECT_FALSE(origin_allowed({}, "null"));
  EXPECT_TRUE(origin_allowed({true, "", {"http://app.example"}}, "http://app.example"));
  EXPECT_FALSE(origin_allowed({true, "", {"http://app.example"}}, "http://app.example.evil"));
  EXPECT_TRUE(origin_allowed({true, "", {"*"}}, "http://anything"));
}

}  // namespace
}  // namespace pensieve::http
