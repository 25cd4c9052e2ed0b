#include "documents/pdf_text.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "documents/program_test.h"
#include "documents/small_pdf.h"

namespace pensieve {
namespace {

class PdfText : public ProgramTest {
 protected:
  PdfText() : ProgramTest("pdftotext", "poppler-utils") {}
  PdfOptions options;
};

TEST_F(PdfText, OnePageIsItsTextMoreAreNamed) {
  const auto one = pdf_text(small_pdf({"Hello from a page"}), options);
  ASSERT_TRUE(one.ok()) << one.error().message;
  EXPECT_EQ(*one, "Hello from a page");
  const auto three = pdf_text(small_pdf({"first", "", "third"}), options);
  ASSERT_TRUE(three.ok()) << three.error().message;
  EXPECT_EQ(*three, "[page 1]\nfirst\n\n[page 2]\n(no text)\n\n[page 3]\nthird");
}

TEST_F(PdfText, SaysWhyNot) {
  const auto why = [&](const std::string& pdf) {
    const auto text = pdf_text(pdf, options);
    return text ? "read: " + *text : text.error().message;
  };
  EXPECT_EQ(why("hello"), "this is not a PDF");
  EXPECT_EQ(why(""), "this is not a PDF");
  EXPECT_TRUE(why("%PDF-1.4\nnothing that follows is right").starts_with("this PDF could not be read: pdftotext ended with exit code 1")) << why("%PDF-1.4\nx");
  EXPECT_TRUE(why(small_pdf({"", ""})).starts_with("this PDF has no text"));
  options.pages_max = 2;
  EXPECT_EQ(why(small_pdf({"a", "b", "c"})), "this PDF has more than 2 pages");
  EXPECT_EQ(why(small_pdf({"a", "b"})), "read: [page 1]\na\n\n[page 2]\nb");
  options.text_bytes_max = 4;
  EXPECT_EQ(why(small_pdf({"longer than that"})), "the text of this PDF has more than 4 bytes");
}

TEST_F(PdfText, EveryCutOfAPdfEndsInTextOrAnError) {
  const std::string whole = small_pdf({"Hello", "again"});
  for (std::size_t cut = 0; cut < whole.size(); cut += 97) {
    const auto text = pdf_text(std::string_view(whole).substr(0, cut), options);
    EXPECT_TRUE(text || text.error().code == ErrorCode::invalid_argument) << cut;
  }
}

TEST(PdfTextWithout, APdfNeedsPdftotextAndTheErrorSaysWhereItIs) {
  PdfOptions nowhere;
  nowhere.program = "/no/such/pdftotext";
  const auto failed = pdf_text("%PDF-1.4", nowhere);
  ASSERT_FALSE(failed.ok());
  EXPECT_NE(failed.error().message.find("exit code 127"), std::string::npos) << failed.error().message;
}

}  // namespace
}  // namespace pensieve
