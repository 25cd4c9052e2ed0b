#include "catalogue/model_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "catalogue/digest.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;

class Store : public testing::Test {
 protected:
  Store() : root(fs::temp_directory_path() / ("pensieve-store-" + std::to_string(::getpid()) + "-" + testing::UnitTest::GetInstance()->current_test_info()->name())), store(root) {
    fs::remove_all(root);
  }
  ~Store() override { fs::remove_all(root); }

  void put(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  void publish(const std::string& name) {
    put(*store.staging(name) / "m.gguf", "weights");
    const auto model = store.publish({name, "hf:a/b", "MIT", {{"m.gguf", 7, "ab"}}, {}});
    ASSERT_TRUE(model) << model.error().message;
  }

  fs::path root;
  ModelStore store;
};

TEST_F(Store, AModelIsSeenOnlyWhenItIsWhole) {
  put(*store.staging("half") / "m.gguf.part", "w");
  EXPECT_TRUE(store.list().empty());
  publish("whole");
  ASSERT_EQ(store.list().size(), 1u);
  EXPECT_EQ(store.find("whole")->path(), (root / "whole" / "m.gguf").string());
  EXPECT_EQ(store.find("whole")->licence, "MIT");
  put(root / "by-hand.gguf", "weights");
  put(root / "split-00002-of-00002.gguf", "weights");
  EXPECT_EQ(store.list().size(), 2u);
  EXPECT_EQ(*store.resolve("by-hand"), (root / "by-hand.gguf").string());
  EXPECT_EQ(*store.resolve((root / "by-hand.gguf").string()), (root / "by-hand.gguf").string());
  EXPECT_EQ(store.resolve("/nowhere/x.gguf").error().code, ErrorCode::not_found);
}

TEST_F(Store, ASecondModelOfTheSameNameIsRefused) {
  publish("m");
  put(*store.staging("m") / "m.gguf", "other");
  EXPECT_FALSE(store.publish({"m", "", "", {{"m.gguf", 5, ""}}, {}}));
  EXPECT_EQ(store.find("m")->bytes(), 7u);
}

TEST_F(Store, AliasesMapPatternsTheLongestFirst) {
  publish("small");
  publish("large");
  ASSERT_TRUE(store.set_alias("claude-*", "small"));
  ASSERT_TRUE(store.set_alias("claude-opus-*", "large"));
  EXPECT_EQ(store.find("claude-sonnet-4")->name, "small");
  EXPECT_EQ(store.find("claude-opus-4-1")->name, "large");
  EXPECT_EQ(store.find("small")->name, "small");
  EXPECT_NE(store.find("gpt").error().message.find("large, small"), std::string::npos);
  EXPECT_FALSE(store.set_alias("x", "absent"));
  EXPECT_FALSE(store.set_alias("small", "large"));
  EXPECT_FALSE(store.remove("claude-sonnet"));
  ASSERT_TRUE(store.remove("large"));
  EXPECT_NE(store.find("claude-opus-4").error().message.find("not here"), std::string::npos);
  ASSERT_TRUE(store.remove_alias("claude-opus-*"));
  EXPECT_FALSE(store.remove_alias("claude-opus-*"));
}

TEST_F(Store, HostileManifestsAreNoModels) {
  publish("good");
  put(root / "secret.txt", "x");
  const char* manifests[] = {"", "[]", "{", R"({"files":[]})", R"({"files":[{"name":"../secret.txt"}]})", R"({"files":[{"name":"/etc/passwd"}]})",
                             R"({"files":[{"name":"absent.gguf"}]})", R"({"files":[7]})", R"({"files":"m.gguf"})", R"({"files":[{"name":".."}]})", R"({"files":[{"name":5}]})"};
  for (std::size_t i = 0; i < std::size(manifests); ++i) put(root / ("bad" + std::to_string(i)) / "model.json", manifests[i]);
  EXPECT_EQ(store.list().size(), 1u);
  put(root / "aliases.json", "{\"a\": 7}");
  EXPECT_EQ(store.find("a").error().code, ErrorCode::corrupt);
}

TEST_F(Store, NamesStayInsideTheFolder) {
  for (const char* bad : {"", ".", "..", "../x", "a/b", "A", "-x", ".partial", "a b", "aliases.json"}) {
    EXPECT_FALSE(ModelStore::valid_name(bad)) << bad;
    EXPECT_FALSE(store.staging(bad)) << bad;
    EXPECT_FALSE(store.remove(bad)) << bad;
  }
  EXPECT_EQ(ModelStore::name_from("Qwen3 4B/GGUF:Q4"), "qwen3-4b-gguf-q4");
  EXPECT_EQ(ModelStore::name_from("../.."), "");
}

TEST(MatchesPattern, StarsStandForAnyText) {
  EXPECT_TRUE(matches_pattern("*", ""));
  EXPECT_TRUE(matches_pattern("a*c", "abbc"));
  EXPECT_TRUE(matches_pattern("*-opus-*", "claude-opus-4"));
  EXPECT_TRUE(matches_pattern("a**b*", "ab"));
  EXPECT_FALSE(matches_pattern("a*c", "abb"));
  EXPECT_FALSE(matches_pattern("", "x"));
  EXPECT_FALSE(matches_pattern(std::string(40, '*') + "x", std::string(5000, 'a')));
}

TEST_F(Store, DigestsAreThoseOfTheirStandards) {
  put(root / "abc", "abc");
  EXPECT_EQ(*digest_of_file((root / "abc").string(), DigestKind::sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(*digest_of_file((root / "abc").string(), DigestKind::git_blob), "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f");
  EXPECT_FALSE(digest_of_file((root / "absent").string(), DigestKind::sha256));
}

}  // namespace
}  // namespace pensieve
