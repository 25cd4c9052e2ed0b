#include "engine/llama_positions.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

constexpr SequenceId kOne{0}, kOther{1};

TEST(LlamaPositions, AreIndicesWithoutPictures) {
  LlamaPositions positions(2);
  positions.saw(kOne, {3, 16, 16});  // Of a model whose rows follow each other.
  EXPECT_EQ(positions.at(kOne, 0), 0);
  EXPECT_EQ(positions.at(kOne, 40), 40);
  EXPECT_EQ(positions.end(kOne, -1), 0);
  EXPECT_EQ(positions.end(kOne, 39), 40);
  EXPECT_EQ(positions.cut(kOne, 5), 5);
}

TEST(LlamaPositions, GoOnBehindThePicturesLongerSide) {
  LlamaPositions positions(2);
  positions.saw(kOne, {3, 6, 3});
  EXPECT_EQ(positions.at(kOne, 3), 3) << "its first row";
  EXPECT_EQ(positions.at(kOne, 9), 6) << "behind it";
  positions.saw(kOne, {11, 20, 5});
  EXPECT_EQ(positions.at(kOne, 11), 8);
  EXPECT_EQ(positions.at(kOne, 31), 13);
  EXPECT_EQ(positions.at(kOther, 31), 31) << "the other sequence has none";
}

TEST(LlamaPositions, TheEndIsBehindTheLastCell) {
  LlamaPositions positions(2);
  positions.saw(kOne, {3, 6, 3});
  EXPECT_EQ(positions.end(kOne, 3), 9) << "the picture is the last";
  EXPECT_EQ(positions.end(kOne, 6), 10) << "one token behind it";
  EXPECT_EQ(positions.end(kOne, 9), 13);
}

TEST(LlamaPositions, ACutTakesWholePictures) {
  LlamaPositions positions(2);
  positions.saw(kOne, {3, 6, 3});
  positions.saw(kOne, {11, 20, 5});
  EXPECT_EQ(positions.cut(kOne, 31), 31);
  EXPECT_EQ(positions.at(kOne, 31), 13) << "nothing was cut";
  EXPECT_EQ(positions.cut(kOne, 20), 11) << "in its midst";
  EXPECT_EQ(positions.at(kOne, 31), 28);
  EXPECT_EQ(positions.cut(kOne, 3), 3);
  EXPECT_EQ(positions.at(kOne, 31), 31);
}

}  // namespace
}  // namespace pensieve
