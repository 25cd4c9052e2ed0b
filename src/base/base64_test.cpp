#include "base/base64.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

TEST(Base64, TheVectorsOfRfc4648) {
  const std::pair<const char*, const char*> vectors[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [bytes, text] : vectors) {
    EXPECT_EQ(base64_encode(bytes), text);
    EXPECT_EQ(base64_decode(text), bytes);
  }
}

TEST(Base64, EveryByteComesBack) {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  EXPECT_EQ(base64_decode(base64_encode(all)), all);
}

TEST(Base64, LineBreaksAndMissingPaddingAreFineOtherLettersAreNot) {
  EXPECT_EQ(base64_decode("Zm9v\nYmE"), "fooba");
  EXPECT_EQ(base64_decode("Zm9v\r\nYmE=\r\n"), "fooba");
  for (const char* bad : {"Z", "Zm9vY", "Zm 9v", "Zm9v-_", "data:;base64,Zm9v", "Zg==Zg=="}) EXPECT_EQ(base64_decode(bad), std::nullopt) << bad;
}

}  // namespace
}  // namespace pensieve
