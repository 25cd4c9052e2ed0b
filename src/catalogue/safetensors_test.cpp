#include "catalogue/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

namespace pensieve {
namespace {

namespace fs = std::filesystem;

std::string with_length(std::uint64_t length, const std::string& header, const std::string& data = std::string(16, 'x')) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}
std::string file_of(const std::string& header, const std::string& data = std::string(16, 'x')) { return with_length(header.size(), header, data); }

Result<SafeTensors> read(const std::string& bytes) {
  std::istringstream in(bytes);
  return read_safetensors_header(in, bytes.size());
}

const std::string kGood = R"({"__metadata__":{"format":"mlx"},"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"U32","shape":[1],"data_offsets":[12,16]}})";

TEST(Safetensors, ReadsWhatIsThere) {
  const auto tensors = read(file_of(kGood));
  ASSERT_TRUE(tensors) << tensors.error().message;
  ASSERT_EQ(tensors->size(), 2u);
  EXPECT_EQ(tensors->at("a").shape, (std::vector<std::uint64_t>{2, 3}));
  EXPECT_EQ(tensors->at("a").begin, 8 + kGood.size());
  EXPECT_EQ(tensors->at("b").type, TensorType::u32);
}

TEST(Safetensors, SaysWhatIsWrong) {
  const auto tensor = [](const std::string& entry) { return file_of("{\"t\":" + entry + "}"); };
  const std::pair<std::string, const char*> cases[] = {
      {"", "shorter"},
      {"1234567", "shorter"},
      {with_length(~std::uint64_t{0}, "{}"), "claims"},
      {with_length(1000, "{}"), "claims"},
      {file_of("[]"), "not a JSON object"},
      {file_of("{"), "not a JSON object"},
      {file_of("{\"t\":" + std::string(100000, '[') + std::string(100000, ']') + "}"), "not a JSON object"},
      {tensor("7"), "has not dtype"},
      {tensor(R"({"dtype":"F32","shape":[1]})"), "has not dtype"},
      {tensor(R"({"dtype":"F33","shape":[1],"data_offsets":[0,4]})"), "unknown dtype"},
      {tensor(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), "whole numbers"},
      {tensor(R"({"dtype":"F32","shape":[1.5],"data_offsets":[0,4]})"), "whole numbers"},
      {tensor(R"({"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]})"), "absurd"},
      {tensor(R"({"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,4]})"), "absurd"},
      {tensor(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})"), "9 dimensions"},
      {tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,400]})"), "cut short"},
      {tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[8,4]})"), "outside"},
      {tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615]})"), "outside"},
      {tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})"), "offsets"},
      {tensor(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"), "needs 4"},
      {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})"), "share bytes"},
  };
  for (const auto& [bytes, words] : cases) {
    const auto tensors = read(bytes);
    ASSERT_FALSE(tensors) << words;
    EXPECT_NE(tensors.error().message.find(words), std::string::npos) << tensors.error().message << " / " << words;
  }
}

// Whatever it is told, a tensor that is accepted lies inside the file and has the bytes of its shape.
TEST(Safetensors, AnyBytesEndInATensorInsideOrAnError) {
  std::mt19937_64 random(11);
  const std::string good = file_of(kGood);
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    const auto changes = random() % 4;
    for (std::uint64_t i = 0; i < changes; ++i) bytes[random() % bytes.size()] = static_cast<char>("0123456789[]{}\",:-e\0\xff"[random() % 22]);
    if (random() % 8 == 0) bytes.resize(random() % bytes.size());
    const auto tensors = read(bytes);
    if (!tensors) continue;
    ++accepted;
    for (const auto& [name, tensor] : *tensors) ASSERT_LE(tensor.begin + tensor.bytes, bytes.size()) << name;
  }
  EXPECT_GT(accepted, 1000);
}

class Checkpoint : public testing::Test {
 protected:
  Checkpoint() : folder(fs::temp_directory_path() / ("pensieve-checkpoint-" + std::to_string(::getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name())) { fs::create_directories(folder); }
  ~Checkpoint() override { fs::remove_all(folder); }
  void put(const std::string& name, const std::string& text) { std::ofstream(folder / name, std::ios::binary) << text; }
  fs::path folder;
};

TEST_F(Checkpoint, TakesTheShardsTheIndexNamesAndNoOthers) {
  put("model-1.safetensors", file_of(kGood));
  put("extra.safetensors", "garbage");
  put("model.safetensors.index.json", R"({"weight_map":{"a":"model-1.safetensors"}})");
  const auto tensors = read_checkpoint(folder.string());
  ASSERT_TRUE(tensors) << tensors.error().message;
  EXPECT_EQ(tensors->at("a").file, (folder / "model-1.safetensors").string());
}

TEST_F(Checkpoint, RefusesHostileIndexes) {
  put("model-1.safetensors", file_of(kGood));
  for (const char* index : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":7}})", R"({"weight_map":{}})", R"({"weight_map":{"a":"../model-1.safetensors"}})",
                            R"({"weight_map":{"a":"/etc/passwd"}})", R"({"weight_map":{"a":"sub/x.safetensors"}})", R"({"weight_map":{"a":"absent.safetensors"}})", R"({"weight_map":{"a":"model.bin"}})"}) {
    put("model.safetensors.index.json", index);
    EXPECT_FALSE(read_checkpoint(folder.string())) << index;
  }
}

TEST_F(Checkpoint, ATensorInTwoShardsIsRefused) {
  put("a.safetensors", file_of(kGood));
  put("b.safetensors", file_of(kGood));
  EXPECT_NE(read_checkpoint(folder.string()).error().message.find("two shards"), std::string::npos);
  EXPECT_EQ(read_checkpoint((folder / "absent").string()).error().code, ErrorCode::not_found);
}

}  // namespace
}  // namespace pensieve
