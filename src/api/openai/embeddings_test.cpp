#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "api/openai/embedding_writer.h"
#include "api/openai/embeddings_request.h"
#include "base/base64.h"

namespace pensieve::openai {
namespace {

using Json = nlohmann::json;

std::vector<EmbedInput> inputs(const std::string& input) {
  const auto read = parse_embeddings(R"({"model":"m","input":)" + input + "}");
  EXPECT_TRUE(read.ok()) << read.error().message;
  return read->asked.prompt.inputs;
}

TEST(EmbeddingsRequest, ReadsTheFourFormsOfInput) {
  EXPECT_EQ(inputs(R"("a text")"), (std::vector<EmbedInput>{{"a text", {}}}));
  EXPECT_EQ(inputs(R"(["a","b"])"), (std::vector<EmbedInput>{{"a", {}}, {"b", {}}}));
  EXPECT_EQ(inputs("[3,0,7]"), (std::vector<EmbedInput>{{"", {3, 0, 7}}}));
  EXPECT_EQ(inputs("[[3],[0,7]]"), (std::vector<EmbedInput>{{"", {3}}, {"", {0, 7}}}));
  const auto read = parse_embeddings(R"({"model":"m","input":"x","encoding_format":"base64","dimensions":64,"user":"u","new":1})");
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->base64);
  EXPECT_EQ(read->asked.dimensions, 64);
  EXPECT_EQ(read->asked.max_tokens, 0);
}

TEST(EmbeddingsRequest, ComplaintsNameTheField) {
  const auto why = [](const std::string& fields) {
    const auto read = parse_embeddings("{\"model\":\"m\"" + fields + "}");
    return read.ok() ? std::string("it was taken") : read.error().message;
  };
  EXPECT_EQ(why(""), "input: field required");
  EXPECT_EQ(why(R"(,"input":"")"), "input: must not be empty");
  EXPECT_EQ(why(R"(,"input":[])"), "input: must not be empty");
  EXPECT_EQ(why(R"(,"input":["a",""])"), "input.1: must not be empty");
  EXPECT_EQ(why(R"(,"input":[[1],[]])"), "input.1: must not be empty");
  EXPECT_EQ(why(R"(,"input":7)"), "input: must be a string, an array of strings, an array of token ids or an array of such arrays");
  EXPECT_EQ(why(R"(,"input":{"text":"a"})"), "input: must be a string, an array of strings, an array of token ids or an array of such arrays");
  EXPECT_EQ(why(R"(,"input":[1,"a"])"), "input: must be an array of token ids");
  EXPECT_EQ(why(R"(,"input":[1,-2])"), "input: must be an array of token ids");
  EXPECT_EQ(why(R"(,"input":[1,2.5])"), "input: must be an array of token ids");
  EXPECT_EQ(why(R"(,"input":[4294967296])"), "input: must be an array of token ids");
  EXPECT_EQ(why(R"(,"input":["a",[1]])"), "input.1: strings and arrays of token ids do not go together");
  EXPECT_EQ(why(R"(,"input":["a",null])"), "input.1: must be a string or an array of token ids");
  EXPECT_EQ(why(R"(,"input":[["a"]])"), "input.0: must be an array of token ids");
  EXPECT_EQ(why(R"(,"input":"a","encoding_format":"int8")"), "encoding_format: must be float or base64");
  EXPECT_EQ(why(R"(,"input":"a","encoding_format":1)"), "encoding_format: must be a string");
  EXPECT_EQ(why(R"(,"input":"a","dimensions":0)"), "dimensions: must be an integer of at least 1");
  EXPECT_EQ(why(R"(,"input":"a","dimensions":1.5)"), "dimensions: must be an integer of at least 1");
  std::string many = "[";
  for (int i = 0; i < 2049; ++i) many += i == 0 ? "\"a\"" : ",\"a\"";
  EXPECT_EQ(why(",\"input\":" + many + "]"), "input: has 2049 inputs; at most 2048 are possible");
  EXPECT_EQ(parse_embeddings(R"({"input":"a"})").error().message, "model: field required");
  EXPECT_FALSE(parse_embeddings("[]").ok());
}

Json written(const std::string& more, const std::vector<std::vector<float>>& vectors) {
  const auto request = parse_embeddings(R"({"model":"m\u00fc","input":"x")" + more + "}");
  const auto writer = embedding_writer(*request);
  writer->collect(Started{7, 0, 0});
  for (std::size_t i = 0; i < vectors.size(); ++i) writer->collect(Embedded{static_cast<std::int32_t>(i), vectors[i], 1, 7});
  Finished finished;
  finished.usage.input_tokens = 7;
  return Json::parse(writer->whole(finished));
}

TEST(EmbeddingWriter, WritesWhatReadsAsTheSame) {
  const std::vector<float> values = {0.1f, -0.70710677f, 1e-20f, 0.0f};
  const Json reply = written("", {values, {1, 0, 0, 0}});
  EXPECT_EQ(reply["object"], "list");
  EXPECT_EQ(reply["model"], "m\xC3\xBC");
  EXPECT_EQ(reply["usage"], Json::parse(R"({"prompt_tokens":7,"total_tokens":7})"));
  ASSERT_EQ(reply["data"].size(), 2u);
  EXPECT_EQ(reply["data"][1]["index"], 1);
  EXPECT_EQ(reply["data"][0]["object"], "embedding");
  EXPECT_EQ(reply["data"][0]["embedding"].get<std::vector<float>>(), values);
  const std::string bytes = *base64_decode(written(R"(,"encoding_format":"base64")", {values})["data"][0]["embedding"].get<std::string>());
  ASSERT_EQ(bytes.size(), 16u);
  EXPECT_EQ(std::memcmp(bytes.data(), values.data(), 16), 0);
}

TEST(EmbeddingWriter, FewerDimensionsAreOfLengthOneAgain) {
  const Json reply = written(R"(,"dimensions":2)", {{0.6f, 0.0f, 0.8f}, {0.0f, 0.0f, 1.0f}});
  EXPECT_EQ(reply["data"][0]["embedding"], Json::parse("[1,0]"));
  EXPECT_EQ(reply["data"][1]["embedding"], Json::parse("[0,0]")) << "a beginning that has no length stays as it is";
}

}  // namespace
}  // namespace pensieve::openai
