#include "engine/image_header.h"

#include <gtest/gtest.h>

#include <string>

namespace pensieve {
namespace {

std::string big(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text.push_back(static_cast<char>(value >> (8 * i)));
  return text;
}
std::string png(std::uint32_t width, std::uint32_t height, char depth = 8) {
  return std::string("\x89PNG\r\n\x1A\n", 8) + big(13, 4) + "IHDR" + big(width, 4) + big(height, 4) + depth + std::string("\x02\0\0\0", 4) + "....";
}
std::string segment(char marker, const std::string& body) { return std::string("\xFF") + marker + big(static_cast<std::uint32_t>(body.size() + 2), 2) + body; }
std::string jpeg(std::uint32_t width, std::uint32_t height, char frame = '\xC2') {
  // What stands before the frame header may look like one.
  return "\xFF\xD8" + segment('\xE0', std::string("JFIF\0\xFF\xC0\0\x11\x08\0\x01\0\x01", 14)) + "\xFF" + segment('\xC4', std::string(30, '\x11')) + segment(frame, "\x08" + big(height, 2) + big(width, 2) + std::string("\x03", 1));
}
std::string gif(int width, int height) {
  return std::string("GIF89a") + static_cast<char>(width) + static_cast<char>(width >> 8) + static_cast<char>(height) + static_cast<char>(height >> 8);
}

TEST(ImageHeader, ReadsTheSizeOfEachFormat) {
  for (const auto& [file, format] : {std::pair(png(1000, 300), ImageHeader::Format::png), std::pair(jpeg(1000, 300), ImageHeader::Format::jpeg), std::pair(jpeg(1000, 300, '\xC0'), ImageHeader::Format::jpeg),
                                     std::pair(gif(1000, 300), ImageHeader::Format::gif)}) {
    const auto header = read_image_header(file);
    ASSERT_TRUE(header) << header.error().message;
    EXPECT_EQ(header->format, format);
    EXPECT_EQ(header->width, 1000u);
    EXPECT_EQ(header->height, 300u);
    EXPECT_EQ(header->bytes, 1000u * 300 * 12);
  }
}

TEST(ImageHeader, TooManyPixelsAreRefusedBeforeAnythingIsDecoded) {
  EXPECT_TRUE(read_image_header(png(3840, 2160)));
  EXPECT_FALSE(read_image_header(png(3840, 2160, 16))) << "twice the bytes";
  for (const std::string& file : {png(30000, 30000), png(0xFFFFFFFFu, 0xFFFFFFFFu), jpeg(65535, 65535), gif(60000, 60000)}) {
    const auto header = read_image_header(file);
    ASSERT_FALSE(header);
    EXPECT_NE(header.error().message.find("pixels; at most 8 million are read"), std::string::npos) << header.error().message;
  }
}

TEST(ImageHeader, WhatIsNoImageIsSaid) {
  EXPECT_NE(read_image_header("%PDF-1.4").error().message.find("neither PNG, JPEG nor GIF"), std::string::npos);
  EXPECT_NE(read_image_header("RIFF\x10\x10\x10\x10WEBPVP8 ").error().message.find("WebP"), std::string::npos);
  EXPECT_FALSE(read_image_header(""));
  EXPECT_FALSE(read_image_header(png(0, 5)));
  for (const std::string& whole : {png(10, 10), jpeg(10, 10), gif(10, 10)}) {
    // Cut anywhere it is read, or damaged; never beyond its end.
    for (std::size_t size = 0; size < whole.size(); ++size) {
      const auto header = read_image_header(std::string_view(whole).substr(0, size));
      if (header) {
        EXPECT_EQ(header->width, 10u);
      }
    }
  }
}

}  // namespace
}  // namespace pensieve
