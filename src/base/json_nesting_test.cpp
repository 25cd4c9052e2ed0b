#include "base/json_nesting.h"

#include <gtest/gtest.h>

#include <string>

namespace pensieve {
namespace {

TEST(JsonNesting, CountsWhatIsOpenAtOnce) {
  EXPECT_EQ(json_nesting(""), 0);
  EXPECT_EQ(json_nesting("7"), 0);
  EXPECT_EQ(json_nesting("[]"), 1);
  EXPECT_EQ(json_nesting(R"({"a":[1,{"b":2}],"c":{}})"), 3);
  EXPECT_EQ(json_nesting(std::string(5000, '[')), 5000);
}

TEST(JsonNesting, BracketsInStringsDoNotCount) {
  EXPECT_EQ(json_nesting(R"(["[[[{{{", "\"[[", "\\", [1]])"), 2);
  EXPECT_EQ(json_nesting(R"("[[)"), 0);   // Cut off.
  EXPECT_EQ(json_nesting("\"[\\"), 0);
}

}  // namespace
}  // namespace pensieve
