#include "chat/pattern.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

bool holds(std::string_view source, std::string_view text) {
  const auto pattern = parse_pattern(source);
  EXPECT_TRUE(pattern.ok()) << source;
  return pattern.ok() && matches(*pattern, code_points(text));
}

TEST(Pattern, MatchesAsJavaScriptDoes) {
  EXPECT_TRUE(holds("^abc$", "abc"));
  EXPECT_FALSE(holds("^abc$", "abcd"));
  EXPECT_TRUE(holds("b", "abc"));
  EXPECT_TRUE(holds("^a", "abc"));
  EXPECT_FALSE(holds("^b", "abc"));
  EXPECT_TRUE(holds("c$", "abc"));
  EXPECT_FALSE(holds("b$", "abc"));
  EXPECT_TRUE(holds("^(a|bc)+$", "abcabc"));
  EXPECT_FALSE(holds("^(a|bc)+$", "abca b"));
  EXPECT_TRUE(holds("^a{2,3}$", "aaa"));
  EXPECT_FALSE(holds("^a{2,3}$", "aaaa"));
  EXPECT_FALSE(holds("^a{2}$", "a"));
  EXPECT_TRUE(holds("^a{2,}$", "aaaaaa"));
  EXPECT_TRUE(holds("^[^a-c]+$", "xyz\u00fc"));
  EXPECT_FALSE(holds("^[^a-c]+$", "xbz"));
  EXPECT_TRUE(holds("^\\d+\\.\\d*?$", "12."));
  EXPECT_TRUE(holds("^[\\w.-]+$", "a-b_c.9"));
  EXPECT_TRUE(holds("^(?:ab)?(?<year>c)$", "c"));
  EXPECT_TRUE(holds("^.$", "\U0001F600"));
  EXPECT_FALSE(holds("^.$", "\n"));
  EXPECT_TRUE(holds("^\\u00fc\\x41$", "\u00fcA"));
  EXPECT_TRUE(holds("", ""));
  EXPECT_TRUE(holds("^$", ""));
  EXPECT_FALSE(holds("^$", "a"));
  EXPECT_TRUE(holds("^\\$$", "$"));
  EXPECT_TRUE(holds("^{a}$", "{a}"));
}

TEST(Pattern, WhatItDoesNotKnowIsSaid) {
  for (const char* source : {"(?=a)", "(?<!a)b", "a\\b", "\\p{L}", "(a)\\1", "a^b", "a$b", "^a|b$", "(", "a)", "[a", "*a", "a**", "[z-a]", "a{2,1}", "\\", "\\ud800"}) {
    EXPECT_FALSE(parse_pattern(source).ok()) << source;
  }
}

TEST(Pattern, HostileOnesAreRefusedOrCheap) {
  EXPECT_FALSE(parse_pattern(std::string(1000, '(') + std::string(1000, ')')).ok());
  EXPECT_FALSE(parse_pattern("a{5000}").ok());
  EXPECT_FALSE(parse_pattern("((a{1000}){1000}){1000}").ok());
  EXPECT_FALSE(parse_pattern(std::string(5000, 'a')).ok());
  // Backtracking would never end.
  EXPECT_FALSE(holds("^(a+)+$", std::string(2000, 'a') + "b"));
  EXPECT_FALSE(holds("^(a|a|a|a)*$", std::string(2000, 'a') + "b"));
}

TEST(Pattern, SetsAreComplemented) {
  EXPECT_EQ(complement({}), (CharacterSet{{0, 0x10FFFF}}));
  EXPECT_EQ(complement({{0, 0x10FFFF}}), CharacterSet{});
  EXPECT_EQ(complement({{'a', 'b'}, {'d', 'd'}}), (CharacterSet{{0, '`'}, {'c', 'c'}, {'e', 0x10FFFF}}));
}

}  // namespace
}  // namespace pensieve
