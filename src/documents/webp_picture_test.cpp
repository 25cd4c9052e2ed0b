#include "documents/webp_picture.h"

#include <gtest/gtest.h>

#include "documents/program_test.h"
#include "documents/small_webp.h"

namespace pensieve {
namespace {

class WebpPicture : public ProgramTest {
 protected:
  WebpPicture() : ProgramTest("dwebp", "webp") {}
  std::string why(const std::string& webp) const {
    const auto png = png_of_webp(webp, options);
    return png ? "decoded" : png.error().message;
  }
  WebpOptions options;
};

TEST_F(WebpPicture, BecomesAPng) {
  for (const std::string& webp : {small_webp(), small_lossy_webp()}) {
    const auto png = png_of_webp(webp, options);
    ASSERT_TRUE(png.ok()) << png.error().message;
    EXPECT_TRUE(png->starts_with("\x89PNG"));
    EXPECT_EQ(png->substr(16, 8), std::string("\0\0\0\x50\0\0\0\x3C", 8)) << "80 by 60";
    EXPECT_EQ(*png_of_webp(webp, options), *png) << "the same bytes again: the picture is named by them";
  }
}

TEST_F(WebpPicture, FewBytesTakeNoMoreThanTheBound) {
  EXPECT_EQ(why(large_webp()), "this image takes more than 48 MiB to decode");
}

TEST_F(WebpPicture, SaysWhyNot) {
  EXPECT_EQ(why("hello"), "this image is not WebP");
  for (const std::string& whole : {small_webp(), small_lossy_webp()}) {
    for (std::size_t size = 12; size < whole.size(); size += 9) EXPECT_TRUE(why(whole.substr(0, size)).starts_with("this image is damaged: dwebp ended with")) << size << why(whole.substr(0, size));
  }
  options.bytes_max = 20;
  EXPECT_EQ(why(small_webp()), "this image has more than 20 bytes as PNG");
  options.program = "/nonexistent/dwebp";
  EXPECT_NE(why(small_webp()), "decoded");
}

}  // namespace
}  // namespace pensieve
