#include "catalogue/projector.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace pensieve {
namespace {

namespace fs = std::filesystem;

class Projector : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(folder_); }
  void TearDown() override { fs::remove_all(folder_); }
  std::string file(const std::string& name) {
    std::ofstream(folder_ / name) << "x";
    return (folder_ / name).string();
  }
  const fs::path folder_ = fs::temp_directory_path() / ("pensieve-projector-" + std::to_string(::getpid()));
};

TEST_F(Projector, LiesBesideTheModelByName) {
  const std::string model = file("gemma-Q4.gguf");
  file("other.gguf");
  EXPECT_EQ(projector_beside(model), "");
  const std::string of_other = file("mmproj-other.gguf");
  EXPECT_EQ(projector_beside(model), "") << "among several models the name decides";
  EXPECT_EQ(projector_beside(file("other.gguf")), of_other);
  const std::string own = file("gemma-Q4-mmproj.gguf");
  EXPECT_EQ(projector_beside(model), own);
}

TEST_F(Projector, TheOnlyOneInAModelsOwnFolder) {
  const std::string model = file("model.gguf");
  const std::string found = file("mmproj-f16.gguf");
  EXPECT_EQ(projector_beside(model), found);
  file("mmproj-f32.gguf");
  EXPECT_EQ(projector_beside(model), "") << "one of two would be a guess";
  EXPECT_EQ(projector_beside("script"), "");
  EXPECT_EQ(projector_beside("/nonexistent/model.gguf"), "");
}

}  // namespace
}  // namespace pensieve
