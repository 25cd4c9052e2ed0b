#include "documents/pdf_pictures.h"

#include <gtest/gtest.h>

#include "documents/program_test.h"
#include "documents/small_pdf.h"

namespace pensieve {
namespace {

class PdfPictures : public ProgramTest {
 protected:
  PdfPictures() : ProgramTest("pdftoppm", "poppler-utils") {}
  PdfPictureOptions options;
};

// Big-endian, from the header chunk.
std::uint32_t side(const std::string& png, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(png[at + i]);
  return value;
}

TEST_F(PdfPictures, EachPageIsAPicture) {
  const auto pages = pdf_pictures(small_pdf({"one", "", "three"}), options);
  ASSERT_TRUE(pages.ok()) << pages.error().message;
  ASSERT_EQ(pages->size(), 3u);
  for (const std::string& page : *pages) {
    EXPECT_TRUE(page.starts_with("\x89PNG"));
    EXPECT_TRUE(std::max(side(page, 16), side(page, 20)) == 1024u);
  }
  EXPECT_NE((*pages)[0], (*pages)[1]);
  options.pages_max = 2;
  const auto first = pdf_pictures(small_pdf({"one", "two", "three"}), options);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->size(), 2u);
}

TEST_F(PdfPictures, SaysWhyNot) {
  EXPECT_FALSE(pdf_pictures("hello", options));
  EXPECT_FALSE(pdf_pictures("%PDF-1.4\nnothing", options));
  options.bytes_max = 100;
  EXPECT_NE(pdf_pictures(small_pdf({"one"}), options).error().message.find("more than 100 bytes"), std::string::npos);
  options.program = "/nonexistent/pdftoppm";
  EXPECT_FALSE(pdf_pictures(small_pdf({"one"}), options));
}

TEST_F(PdfPictures, FilesAreSplitOrNotAtAll) {
  const auto drawn = pdf_pictures(small_pdf({"one", "two"}), options);
  ASSERT_TRUE(drawn.ok()) << drawn.error().message;
  const std::vector<std::string>& pages = *drawn;
  const std::string both = pages[0] + pages[1];
  EXPECT_EQ(split_pngs(both), pages);
  for (std::size_t size = 1; size < both.size(); size += 7) {
    const auto cut = split_pngs(std::string_view(both).substr(0, size));
    EXPECT_TRUE(cut.empty() || (size == pages[0].size() && cut.size() == 1)) << size;
  }
  EXPECT_TRUE(split_pngs("x").empty());
  EXPECT_TRUE(split_pngs(pages[0] + "x").empty());
}

}  // namespace
}  // namespace pensieve
