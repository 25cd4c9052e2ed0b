#include "catalogue/gguf_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

namespace pensieve {
namespace {

// Writes GGUF bytes, right or wrong.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view bytes) {
    text_ += bytes;
    return *this;
  }
  Bytes& text(std::string_view bytes) { return put<std::uint64_t>(bytes.size()).raw(bytes); }
  Bytes& head(std::uint64_t tensors, std::uint64_t pairs, std::uint32_t version = 3) {
    return raw("GGUF").put(version).put(tensors).put(pairs);
  }
  Bytes& tensor(std::string_view name, std::uint64_t elements, std::uint32_t type, std::uint64_t offset) {
    return text(name).put<std::uint32_t>(1).put(elements).put(type).put(offset);
  }
  Bytes& pad() { return raw(std::string((32 - text_.size() % 32) % 32, '\0')); }
  Bytes& zeros(std::size_t count) { return raw(std::string(count, '\0')); }
  const std::string& bytes() const { return text_; }

 private:
  std::string text_;
};

Result<GgufHeader> read(const std::string& bytes) {
  std::istringstream in(bytes);
  return read_gguf_header(in, bytes.size());
}

Bytes good() {
  Bytes file;
  file.head(2, 5);
  file.text("general.architecture").put<std::uint32_t>(8).text("llama");
  file.text("llama.block_count").put<std::uint32_t>(4).put<std::uint32_t>(2);
  file.text("rope.scale").put<std::uint32_t>(6).put(0.5f);
  file.text("tokens").put<std::uint32_t>(9).put<std::uint32_t>(8).put<std::uint64_t>(2).text("a").text("bc");
  file.text("heads").put<std::uint32_t>(9).put<std::uint32_t>(5).put<std::uint64_t>(3).put<std::int32_t>(8).put<std::int32_t>(0).put<std::int32_t>(-1);
  file.tensor("a", 64, 8, 0).tensor("b", 5, 0, 96).pad().zeros(96 + 20);
  return file;
}

TEST(GgufHeader, ReadsPairsAndTensors) {
  const auto header = read(good().bytes());
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->version, 3u);
  EXPECT_EQ(*header->find<std::string>("general.architecture"), "llama");
  EXPECT_EQ(*header->find<std::int64_t>("llama.block_count"), 2);
  EXPECT_EQ(*header->find<double>("rope.scale"), 0.5);
  EXPECT_EQ(header->find<GgufArray>("tokens")->count, 2u);
  EXPECT_EQ(header->find<GgufArray>("heads")->integers, (std::vector<std::int64_t>{8, 0, -1}));
  EXPECT_EQ(header->find<std::string>("llama.block_count"), nullptr);
  EXPECT_EQ(header->parameters, 69u);
  EXPECT_EQ(header->tensors[0].bytes, 68u);
  EXPECT_EQ(header->tensors[1].bytes, 20u);
}

// Wherever the file is cut, it is refused, and nothing breaks.
TEST(GgufHeader, RefusesEveryTruncation) {
  const std::string whole = good().bytes();
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto header = read(whole.substr(0, length));
    ASSERT_FALSE(header) << length;
    EXPECT_EQ(header.error().code, ErrorCode::corrupt);
  }
}

// Whatever byte is wrong: a Result, no crash and no great allocation.
TEST(GgufHeader, SurvivesEveryFlippedByte) {
  const std::string whole = good().bytes();
  for (std::size_t at = 0; at < whole.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ flip);
      (void)read(broken).ok();
    }
  }
}

TEST(GgufHeader, SaysWhatIsWrong) {
  constexpr std::uint64_t kHuge = ~std::uint64_t{0};
  const auto pair = [](std::uint32_t type) {
    Bytes file;
    file.head(0, 1).text("key").put(type);
    return file;
  };
  Bytes two_keys;
  two_keys.head(0, 2).text("k").put<std::uint32_t>(0).put<std::uint8_t>(1).text("k").put<std::uint32_t>(0).put<std::uint8_t>(1).zeros(64);
  Bytes shape;
  shape.head(1, 0).text("t").put<std::uint32_t>(2).put(std::uint64_t{1} << 40).put(std::uint64_t{1} << 40).put<std::uint32_t>(0).put<std::uint64_t>(0);
  Bytes dims;
  dims.head(1, 0).text("t").put<std::uint32_t>(9).zeros(100);
  Bytes alignment;
  alignment.head(0, 1).text("general.alignment").put<std::uint32_t>(4).put<std::uint32_t>(33);
  const std::pair<std::string, const char*> cases[] = {
      {"", "inside its magic"},
      {"GGML" + std::string(40, '\0'), "begin with 'GGUF'"},
      {Bytes().head(0, 0, 1).bytes(), "version 1"},
      {Bytes().head(0, 0, 99).bytes(), "version 99"},
      {Bytes().head(0, 0, 0x03000000).bytes(), "big-endian"},
      {Bytes().head(kHuge, 0).zeros(100).bytes(), "tensors"},
      {Bytes().head(0, kHuge).zeros(100).bytes(), "pairs"},
      {Bytes().head(1000, 0).zeros(100).bytes(), "1000 tensors"},
      {Bytes().head(0, 1).put(kHuge).zeros(100).bytes(), "a key"},
      {Bytes().head(0, 1).put<std::uint64_t>(70000).zeros(80000).bytes(), "a key"},
      {pair(77).zeros(40).bytes(), "unknown type 77"},
      {pair(8).put(kHuge).zeros(40).bytes(), "a text"},
      {pair(10).put(kHuge).zeros(40).bytes(), "absurd"},
      {pair(9).put<std::uint32_t>(9).put<std::uint64_t>(1).zeros(40).bytes(), "does not allow"},
      {pair(9).put<std::uint32_t>(4).put(kHuge).zeros(40).bytes(), "elements"},
      {pair(9).put<std::uint32_t>(8).put(kHuge / 8).zeros(40).bytes(), "elements"},
      {two_keys.bytes(), "twice"},
      {shape.bytes(), "absurd shape"},
      {dims.bytes(), "9 dimensions"},
      {alignment.zeros(40).bytes(), "general.alignment"},
      {Bytes().head(1, 0).tensor("t", 33, 8, 0).pad().zeros(64).bytes(), "packs 32"},
      {Bytes().head(1, 0).tensor("t", 32, 0, 7).pad().zeros(256).bytes(), "multiple"},
      {Bytes().head(1, 0).tensor("t", 1000, 0, 0).pad().zeros(100).bytes(), "cut short"},
      {Bytes().head(1, 0).tensor("t", 1, 0, kHuge - 31).pad().zeros(100).bytes(), "cut short"},
      {Bytes().head(2, 0).tensor("t", 1, 0, 0).tensor("t", 1, 0, 32).pad().zeros(100).bytes(), "twice"},
  };
  for (const auto& [bytes, words] : cases) {
    const auto header = read(bytes);
    ASSERT_FALSE(header) << words;
    EXPECT_EQ(header.error().code, ErrorCode::corrupt);
    EXPECT_NE(header.error().message.find(words), std::string::npos) << header.error().message;
  }
}

TEST(GgufHeader, NamesTheFile) {
  const auto missing = read_gguf_header("/nonexistent/model.gguf");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::not_found);
  EXPECT_NE(missing.error().message.find("/nonexistent/model.gguf"), std::string::npos);
  EXPECT_EQ(read_gguf_header("/").error().code, ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace pensieve
