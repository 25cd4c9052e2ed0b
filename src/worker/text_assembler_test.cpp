#include "worker/text_assembler.h"

#include <gtest/gtest.h>

#include <random>

#include "base/utf8.h"

namespace pensieve {
namespace {

TEST(TextAssembler, ACharacterLeavesWhole) {
  TextAssembler text({});
  EXPECT_EQ(text.push("a\xE2"), "a");
  EXPECT_EQ(text.push("\x98"), "");
  EXPECT_EQ(text.push("\x83z"), "\xE2\x98\x83z");
  EXPECT_EQ(text.push("\xF0\x9F"), "");
  EXPECT_EQ(text.flush(), "\xEF\xBF\xBD");
}

TEST(TextAssembler, AStopSequenceAcrossTokensNeverLeaks) {
  TextAssembler text({"STOP"});
  EXPECT_EQ(text.push("go S"), "go ");
  EXPECT_EQ(text.push("T"), "");
  EXPECT_EQ(text.push("OP and more"), "");
  EXPECT_EQ(text.stopped_by(), "STOP");
  EXPECT_EQ(text.flush(), "");
}

TEST(TextAssembler, AFalseBeginningIsReleased) {
  TextAssembler text({"STOP"});
  EXPECT_EQ(text.push("ST"), "");
  EXPECT_EQ(text.push("AY"), "STAY");
  EXPECT_EQ(text.push("S"), "");
  EXPECT_EQ(text.push("STO"), "S");
  EXPECT_EQ(text.push("P"), "");
  EXPECT_EQ(text.stopped_by(), "STOP");
}

TEST(TextAssembler, TheEarliestStopWinsAndThenTheLongest) {
  TextAssembler text({"b", "abc", "a"});
  EXPECT_EQ(text.push("xabc"), "x");
  EXPECT_EQ(text.stopped_by(), "abc");
}

TEST(TextAssembler, WhatIsHeldAtTheEndIsShown) {
  TextAssembler text({"END"});
  EXPECT_EQ(text.push("the E"), "the ");
  EXPECT_EQ(text.flush(), "E");
}

// However the bytes are cut into tokens, the same text comes out.
TEST(TextAssembler, CutsDoNotMatter) {
  std::mt19937 random(7);
  const std::string alphabet[] = {"a", "b", "ab", "\xC3\xA9", "\xE2\x98\x83", "\xFF", "\n"};
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < 12; ++i) bytes += alphabet[random() % std::size(alphabet)];
    const std::vector<std::string> stops = {"abab", "\xC3\xA9" "a"};
    TextAssembler whole(stops);
    std::string expected = whole.push(bytes);
    expected += whole.flush();
    TextAssembler cut(stops);
    std::string shown;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t length = std::min<std::size_t>(1 + random() % 3, bytes.size() - at);
      const std::string delta = cut.push(bytes.substr(at, length));
      EXPECT_TRUE(utf8_valid(delta));
      shown += delta;
      at += length;
    }
    shown += cut.flush();
    EXPECT_EQ(shown, expected);
    EXPECT_EQ(cut.stopped_by().empty(), whole.stopped_by().empty());
  }
}

}  // namespace
}  // namespace pensieve
