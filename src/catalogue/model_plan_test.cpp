#include "catalogue/model_plan.h"

#include <gtest/gtest.h>

namespace pensieve {
namespace {

// The shapes of Phi-3-mini.
GgufHeader phi3() {
  GgufHeader header;
  header.parameters = 3'821'079'552;
  header.file_bytes = 2'200'000'000;
  header.pairs = {{"general.architecture", std::string("phi3")},
                  {"general.name", std::string("Phi-3 mini")},
                  {"phi3.block_count", std::int64_t{32}},
                  {"phi3.context_length", std::int64_t{4096}},
                  {"phi3.embedding_length", std::int64_t{3072}},
                  {"phi3.attention.head_count", std::int64_t{32}},
                  {"phi3.attention.head_count_kv", std::int64_t{32}}};
  return header;
}

TEST(ModelPlan, CountsWhatATokenCosts) {
  const auto plan = plan_model(phi3(), 2048, 2);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kv_bytes_per_token_f16, 32u * 2 * 3072 * 2);
  EXPECT_EQ(plan->kv_bytes_per_token_q8_0, 32u * 2 * 3072 / 32 * 34);
  EXPECT_EQ(plan->kv_bytes, plan->kv_bytes_per_token_f16 * 2048 * 2);
  EXPECT_EQ(plan->total_bytes, plan->file_bytes + plan->kv_bytes);
}

TEST(ModelPlan, ChoosesAContextWithinOneGibibyteAndTheTraining) {
  EXPECT_EQ(plan_model(phi3(), 0, 1)->context_tokens, (1u << 30) / (32u * 2 * 3072 * 2));
  GgufHeader small = phi3();
  small.pairs["phi3.block_count"] = std::int64_t{1};
  EXPECT_EQ(plan_model(small, 0, 1)->context_tokens, 4096u);
}

TEST(ModelPlan, KnowsHeadsThatDifferByLayerAndWidthsOfTheirOwn) {
  GgufHeader header = phi3();
  header.pairs["phi3.block_count"] = std::int64_t{3};
  header.pairs["phi3.attention.head_count_kv"] = GgufArray{5, 3, {4, 0, 2}};
  header.pairs["phi3.attention.key_length"] = std::int64_t{128};
  header.pairs["phi3.attention.value_length"] = std::int64_t{64};
  EXPECT_EQ(plan_model(header, 1, 1)->kv_bytes_per_token_f16, 6u * 192 * 2);
}

TEST(ModelPlan, ARecurrentModelKeepsNothingOfSingleTokens) {
  GgufHeader header = phi3();
  header.pairs["general.architecture"] = std::string("mamba2");
  for (const auto& [key, value] : {std::pair{"block_count", 48}, {"context_length", 32768}, {"embedding_length", 1536}, {"ssm.state_size", 128}}) header.pairs["mamba2." + std::string(key)] = std::int64_t{value};
  const auto plan = plan_model(header, 0, 2);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kv_bytes, 0u);
  EXPECT_EQ(plan->context_tokens, 32768u);
}

TEST(ModelPlan, AModelThatMakesEmbeddingsHasRoomForOneInput) {
  GgufHeader header = phi3();
  header.pairs["phi3.pooling_type"] = std::int64_t{3};
  const auto last = plan_model(header, 2048, 4);
  ASSERT_TRUE(last && last->embeds);
  EXPECT_EQ(last->kv_bytes, last->kv_bytes_per_token_f16 * 2048);
  header.pairs["phi3.attention.causal"] = false;
  EXPECT_EQ(plan_model(header, 2048, 4)->kv_bytes, 0u);
  EXPECT_FALSE(plan_model(phi3(), 2048, 4)->embeds);
}

TEST(ModelPlan, RefusesMissingAndAbsurdNumbers) {
  for (const char* key : {"general.architecture", "phi3.block_count", "phi3.context_length", "phi3.embedding_length", "phi3.attention.head_count"}) {
    GgufHeader header = phi3();
    header.pairs.erase(key);
    const auto plan = plan_model(header, 0, 1);
    ASSERT_FALSE(plan) << key;
    EXPECT_NE(plan.error().message.find(key), std::string::npos);
  }
  for (const std::int64_t absurd : {std::int64_t{-1}, INT64_MAX}) {
    GgufHeader header = phi3();
    header.pairs["phi3.block_count"] = absurd;
    EXPECT_FALSE(plan_model(header, 0, 1));
  }
  GgufHeader few = phi3();
  few.pairs["phi3.attention.head_count_kv"] = GgufArray{5, 1, {4}};
  EXPECT_FALSE(plan_model(few, 0, 1));
}

}  // namespace
}  // namespace pensieve
