#include "catalogue/hub.h"

#include <gtest/gtest.h>

#include <random>

namespace pensieve {
namespace {

HubFile file(const std::string& path, std::uint64_t bytes = 10) { return {path, bytes, std::string(64, 'a'), ""}; }

TEST(Hub, ReadsReferences) {
  EXPECT_EQ(parse_hub_reference("hf:Qwen/Qwen3-4B-GGUF")->repository, "Qwen/Qwen3-4B-GGUF");
  EXPECT_EQ(parse_hub_reference("hf:a/b:Q4_K_M")->quantisation, "Q4_K_M");
  for (const char* bad : {"hf:", "hf:a", "hf:a/", "hf:/b", "hf:a/b/c", "hf:a/b:", "hf:../b", "hf:a/..", "hf:a b/c", "hf:a/b?x=1", "hf:a/b:../q"}) {
    EXPECT_FALSE(parse_hub_reference(bad)) << bad;
  }
}

TEST(Hub, ChoosesTheUsualQuantisationOrTheOneAskedFor) {
  const std::vector<HubFile> files = {file("README.md"), file("mmproj-model-f16.gguf"), file("model-Q2_K.gguf"), file("model-Q4_K_M.gguf"), file("model-Q8_0.gguf"), file("model-IQ4_XS.gguf"), file("model-f16.gguf")};
  EXPECT_EQ(select_files(files, "")->files[0].path, "model-Q4_K_M.gguf");
  EXPECT_EQ(select_files(files, "q8_0")->files[0].path, "model-Q8_0.gguf");
  EXPECT_EQ(select_files(files, "iq4_xs")->quantisation, "IQ4_XS");
  const auto missing = select_files(files, "Q5_K_M");
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("Q2_K"), std::string::npos);
  EXPECT_FALSE(select_files({file("README.md")}, ""));
  EXPECT_FALSE(select_files({file("a.gguf"), file("b.gguf")}, ""));
}

TEST(Hub, TakesAllPartsOfASplitModelInOrder) {
  std::vector<HubFile> files = {file("Q4_K_M/m-00002-of-00003.gguf"), file("Q4_K_M/m-00003-of-00003.gguf"), file("Q4_K_M/m-00001-of-00003.gguf"), file("m-Q8_0.gguf")};
  const auto chosen = select_files(files, "");
  ASSERT_TRUE(chosen);
  ASSERT_EQ(chosen->files.size(), 3u);
  EXPECT_EQ(chosen->files[0].name(), "m-00001-of-00003.gguf");
  EXPECT_EQ(chosen->files[2].name(), "m-00003-of-00003.gguf");
  files.erase(files.begin());
  EXPECT_EQ(select_files(files, "").error().code, ErrorCode::corrupt);
}

TEST(Hub, ReadsATreeAndBelievesLittle) {
  const std::string hash(64, 'b');
  const auto tree = parse_hub_tree(R"([{"type":"directory","path":"x","oid":"1","size":0},
    {"type":"file","path":"x/m.gguf","oid":"0123456789012345678901234567890123456789","size":130,"lfs":{"oid":")" + hash + R"(","size":5000000000,"pointerSize":130}},
    {"type":"file","path":"config.json","oid":"0123456789012345678901234567890123456789","size":7}])");
  ASSERT_TRUE(tree) << tree.error().message;
  ASSERT_EQ(tree->size(), 2u);
  EXPECT_EQ((*tree)[0].bytes, 5000000000u);
  EXPECT_EQ((*tree)[0].sha256, hash);
  EXPECT_EQ((*tree)[1].git_hash.size(), 40u);
  for (const char* bad : {"", "{}", "[1]", "nonsense", R"([{"type":"file","path":"../m.gguf","size":1}])", R"([{"type":"file","path":"/etc/m.gguf","size":1}])",
                          R"([{"type":"file","path":"a\\b.gguf","size":1}])", R"([{"type":"file","path":"a/../../b.gguf","size":1}])", R"([{"type":"file","path":"m.gguf","size":-1}])",
                          R"([{"type":"file","path":"m.gguf","size":1e99}])", R"([{"type":"file","path":"m.gguf","size":18446744073709551615}])", R"([{"type":"file","path":"m.gguf"}])",
                          R"([{"type":"file","path":"m.gguf","size":1,"lfs":{"oid":"short","size":1}}])", R"([{"type":"file","path":"a\nb.gguf","size":1}])"}) {
    EXPECT_FALSE(parse_hub_tree(bad)) << bad;
  }
}

TEST(Hub, SurvivesAnyBytes) {
  const std::string seed = R"([{"type":"file","path":"m-00001-of-00002.gguf","oid":"x","size":130,"lfs":{"oid":"ab","size":50}}])";
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    std::string text = seed;
    for (int i = 0; i < 4; ++i) text[random() % text.size()] = static_cast<char>(random());
    if (const auto tree = parse_hub_tree(text)) (void)select_files(*tree, "");
    (void)parse_hub_reference(text);
    (void)next_page(text);
  }
}

TEST(Hub, WritesAddresses) {
  EXPECT_EQ(file_url("http://h", "a/b", "x y/m#1.gguf"), "http://h/a/b/resolve/main/x%20y/m%231.gguf");
  EXPECT_EQ(next_page(R"(<http://h/api?cursor=abc>; rel="next")"), "http://h/api?cursor=abc");
  EXPECT_EQ(next_page(R"(<http://h/api>; rel="prev")"), "");
}

}  // namespace
}  // namespace pensieve
