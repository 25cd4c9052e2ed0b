#include "base/utf8.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

TEST(Utf8, AnIncompleteTailIsCountedInBytes) {
  const std::string snowman = "\xE2\x98\x83";
  const std::string grin = "\xF0\x9F\x98\x80";
  EXPECT_EQ(utf8_incomplete_tail(""), 0u);
  EXPECT_EQ(utf8_incomplete_tail("abc"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("a" + snowman), 0u);
  EXPECT_EQ(utf8_incomplete_tail("a" + snowman.substr(0, 1)), 1u);
  EXPECT_EQ(utf8_incomplete_tail("a" + snowman.substr(0, 2)), 2u);
  EXPECT_EQ(utf8_incomplete_tail(grin.substr(0, 3)), 3u);
  EXPECT_EQ(utf8_incomplete_tail(grin), 0u);
}

TEST(Utf8, BytesThatCanNeverBecomeACharacterAreNotWaitedFor) {
  EXPECT_EQ(utf8_incomplete_tail("\xFF"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("\xC0"), 0u);          // Overlong lead.
  EXPECT_EQ(utf8_incomplete_tail("\xED\xA0"), 0u);      // A surrogate.
  EXPECT_EQ(utf8_incomplete_tail("\x80\x80\x80"), 0u);  // Only continuations.
}

TEST(Utf8, IllFormedPartsBecomeTheReplacementCharacter) {
  EXPECT_EQ(utf8_sanitise("a\xFFz"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_sanitise("\xE2\x98"), "\xEF\xBF\xBD");
  EXPECT_EQ(utf8_sanitise("\xE2\x98z"), "\xEF\xBF\xBDz");
  EXPECT_EQ(utf8_sanitise("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
}

TEST(Utf8, SanitisedTextIsValidWhateverTheBytes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), static_cast<char>(second), 'x'};
      EXPECT_TRUE(utf8_valid(utf8_sanitise(bytes)));
    }
  }
}

}  // namespace
}  // namespace pensieve
