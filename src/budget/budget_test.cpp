#include "budget/budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "budget/ledger.h"

namespace pensieve {
namespace {

KvNeeds straight(double kv_token, double compute_fixed, double compute_token) {
  KvNeeds kv;
  for (const double tokens : {512.0, 8192.0}) kv.points.push_back({tokens, kv_token * tokens, compute_fixed + compute_token * tokens});
  return kv;
}

// Phi-3-mini at 4 bits: 393,216 bytes a token in f16, 208,896 in q8_0.
ModelNeeds phi3() {
  ModelNeeds needs;
  needs.file_bytes = 2'180'000'000;
  needs.process_bytes = 60'000'000;
  needs.context_trained = 4096;
  needs.heads = 32;
  needs.embedding = 3072;
  needs.vocabulary = 32064;
  needs.slots_asked = 1;
  needs.f16 = straight(393216, 40e6, 65536);
  needs.q8_0 = straight(208896, 40e6, 1024);
  return needs;
}

Wishes within(std::uint64_t ceiling) {
  Wishes wishes;
  wishes.ceiling_bytes = ceiling;
  wishes.slots = 1;
  wishes.context_wanted = 4096;
  return wishes;
}

TEST(Budget, TakesF16WhereItFitsThenQ8ThenAShorterContext) {
  const auto roomy = make_budget(phi3(), within(8'000'000'000));
  ASSERT_TRUE(roomy) << roomy.error().message;
  EXPECT_EQ(roomy->kv_type, "f16");
  EXPECT_EQ(roomy->context_tokens, 4096u);
  const auto half = make_budget(phi3(), within(3'500'000'000));
  ASSERT_TRUE(half) << half.error().message;
  EXPECT_EQ(half->kv_type, "q8_0");
  EXPECT_EQ(half->context_tokens, 4096u);
  const auto tight = make_budget(phi3(), within(2'900'000'000));
  ASSERT_TRUE(tight) << tight.error().message;
  EXPECT_EQ(tight->kv_type, "q8_0");
  EXPECT_LT(tight->context_tokens, 4096u);
  EXPECT_GE(tight->context_tokens, 512u);
}

TEST(Budget, NeverPassesTheCeilingAndUsesItWell) {
  for (std::uint64_t ceiling = 2'700'000'000; ceiling < 6'000'000'000; ceiling += 10'000'000) {
    for (const std::uint64_t slots : {1u, 2u, 4u}) {
      Wishes wishes = within(ceiling);
      wishes.slots = slots;
      const auto budget = make_budget(phi3(), wishes);
      if (!budget) continue;
      EXPECT_LE(budget->total_bytes, ceiling);
      std::uint64_t sum = 0;
      for (const auto& line : budget->lines) sum += line.bytes;
      EXPECT_EQ(sum, budget->total_bytes);
      if (budget->context_tokens < 4096) {
        EXPECT_GT(budget->total_bytes, ceiling - 256 * 400'000 * slots) << "one grain more would not fit";
      }
    }
  }
}

TEST(Budget, RefusesWithTheTableAndTheSmallestChange) {
  const auto refused = make_budget(phi3(), within(2'000'000'000));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("weights"), std::string::npos);
  const std::size_t at = refused.error().message.find("--memory ", refused.error().message.find("sum") + 40);
  ASSERT_NE(at, std::string::npos) << refused.error().message;
  const std::uint64_t would = std::stoull(refused.error().message.substr(at + 9)) << 20;
  EXPECT_TRUE(make_budget(phi3(), within(would))) << "what it says would do, does";
  EXPECT_FALSE(make_budget(phi3(), within(would - (2u << 20)))) << "and nothing smaller";
}

TEST(Budget, WhatTheUserFixedIsKept) {
  Wishes wishes = within(3'500'000'000);
  wishes.kv_type = "f16";
  const auto budget = make_budget(phi3(), wishes);
  ASSERT_TRUE(budget) << budget.error().message;
  EXPECT_EQ(budget->kv_type, "f16");
  EXPECT_LT(budget->context_tokens, 4096u);
  wishes.context_tokens = 4096;
  EXPECT_FALSE(make_budget(phi3(), wishes));
}

TEST(Budget, FewerSlotsOnlyWhereTheyAreNotFixed) {
  Wishes wishes = within(2'850'000'000);
  wishes.slots = 8;
  const auto fewer = make_budget(phi3(), wishes);
  ASSERT_TRUE(fewer) << fewer.error().message;
  EXPECT_LT(fewer->slots, 8u);
  wishes.slots_fixed = true;
  EXPECT_FALSE(make_budget(phi3(), wishes));
}

TEST(Budget, ReadsTheWorkersPlanAndRefusesNonsense) {
  const auto needs = parse_needs(
      R"({"weights_bytes":1,"context_trained":4096,"heads":4,"embedding":256,"vocabulary":100,"process_bytes":5,"variants":[
          {"kv_type":"f16","context_tokens":1024,"kv_bytes":2048,"compute_bytes":5000},
          {"kv_type":"f16","context_tokens":8192,"kv_bytes":16384,"compute_bytes":19336}]})",
      1000, 2);
  ASSERT_TRUE(needs);
  EXPECT_EQ(needs->f16->kv_bytes(2048), 4096);
  EXPECT_EQ(needs->f16->compute_bytes(2048), 2952 + 2 * 2048);
  EXPECT_FALSE(needs->q8_0);
  for (const char* bad : {"", "{}", "[]", R"({"variants":[]})", R"({"variants":[1,{"kv_type":"f16"},{"kv_type":"f16","context_tokens":-1}]})", R"({"variants":{}})"}) {
    EXPECT_FALSE(parse_needs(bad, 1, 1)) << bad;
  }
}

// One input at a time, read in one step: slots cost nothing, and there is no context beyond the trained one.
TEST(Budget, AnEmbeddingModelNeedsRoomForOneInput) {
  const auto needs = parse_needs(
      R"({"context_trained":2048,"heads":4,"embedding":256,"vocabulary":1000,"process_bytes":5,"vector_size":256,"variants":[
          {"kv_type":"f16","context_tokens":512,"kv_bytes":0,"compute_bytes":5000,"whole_steps":true},
          {"kv_type":"f16","context_tokens":2048,"kv_bytes":0,"compute_bytes":80000,"whole_steps":true}]})",
      1000, 4);
  ASSERT_TRUE(needs);
  Wishes wishes = within(8'000'000'000);
  wishes.context_wanted = 0;
  const auto one = make_budget(*needs, wishes);
  wishes.slots = 4;
  wishes.context_tokens = 100'000;
  const auto four = make_budget(*needs, wishes);
  ASSERT_TRUE(one && four);
  EXPECT_EQ(one->context_tokens, 2048u);
  EXPECT_EQ(four->context_tokens, 2048u);
  EXPECT_EQ(one->total_bytes, four->total_bytes);
  const auto line = [&](const char* name) { return std::ranges::find(one->lines, name, &Budget::Line::name)->bytes; };
  EXPECT_EQ(line("KV cache"), 0u);
  EXPECT_EQ(line("KV export"), 0u);
  EXPECT_EQ(line("engine work area"), 2048u * 256 * 8) << "of all its rows, not of a step of 512";
  wishes.kv_type = "q8_0";
  EXPECT_FALSE(make_budget(*needs, wishes));
}

// Trained for 512 tokens: every context that the plan asks about is that one.
TEST(Budget, AnEmbeddingModelOfOneContextHasAPlan) {
  const auto needs = parse_needs(R"({"context_trained":512,"heads":4,"embedding":256,"vector_size":256,"variants":[
      {"kv_type":"f16","context_tokens":512,"kv_bytes":0,"compute_bytes":5000},{"kv_type":"f16","context_tokens":512,"kv_bytes":0,"compute_bytes":5000}]})", 1000, 1);
  ASSERT_TRUE(needs);
  const auto budget = make_budget(*needs, within(8'000'000'000));
  ASSERT_TRUE(budget);
  EXPECT_EQ(budget->context_tokens, 512u);
}

// 22 of 26 layers look back over 512 tokens, and hold 512 more while they read.
TEST(Budget, FollowsASlidingWindowThatStopsGrowing) {
  for (const double window : {512.0, 1024.0, 2559.0, 4608.0}) {
    const auto truth = [&](double tokens) { return 4 * tokens + 22 * std::min(tokens, window); };
    KvNeeds kv;
    for (const double tokens : {512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 32768.0}) kv.points.push_back({tokens, truth(tokens), 0});
    for (int count = 1024; count <= 100'000; count += 256) {
      const double tokens = count;
      EXPECT_GE(kv.kv_bytes(tokens), truth(tokens) - 1) << window << ", " << tokens;
      EXPECT_LE(kv.kv_bytes(tokens), truth(tokens) + 1) << window << ", " << tokens;
    }
  }
}

TEST(Budget, TheDerivedCeilingLeavesAMargin) {
  EXPECT_EQ(default_ceiling(10'000'000'000, 16'000'000'000), 9'000'000'000u);
  EXPECT_EQ(default_ceiling(1'000'000'000, 4'000'000'000), 500'000'000u);
  EXPECT_EQ(default_ceiling(100, 16'000'000'000), 0u);
}

TEST(Ledger, SaysWhatCanNeverFit) {
  Ledger ledger(1000, 100);
  auto some = ledger.reserve(60);
  ASSERT_TRUE(some);
  EXPECT_EQ(ledger.reserve(100).error().code, ErrorCode::overloaded);
  EXPECT_EQ(ledger.reserve(101).error().code, ErrorCode::too_large);
  EXPECT_EQ(some->add(41).error().code, ErrorCode::too_large) << "beside its own";
  EXPECT_EQ(ledger.reserve(41, 60).error().code, ErrorCode::too_large);
  EXPECT_EQ(ledger.reserve(UINT64_MAX).error().code, ErrorCode::too_large) << "no overflow";
  auto other = ledger.reserve(30);
  ASSERT_TRUE(other);
  EXPECT_EQ(some->add(40).error().code, ErrorCode::overloaded);
  EXPECT_EQ(ledger.reserved_bytes(), 90u);
}

TEST(Ledger, GivesBackExactlyOnce) {
  Ledger ledger(1000, 100);
  {
    auto first = ledger.reserve(60);
    ASSERT_TRUE(first);
    std::optional<Ledger::Reservation> moved(*std::move(first));
    EXPECT_EQ(ledger.committed_bytes(), 1060u);
    EXPECT_TRUE(moved->add(30));
    EXPECT_FALSE(moved->add(11));
    EXPECT_EQ(ledger.reserved_bytes(), 90u);
    EXPECT_FALSE(ledger.reserve(11));
    EXPECT_TRUE(ledger.reserve(10));
    EXPECT_EQ(ledger.reserved_bytes(), 90u);
  }
  EXPECT_EQ(ledger.committed_bytes(), 1000u);
  EXPECT_FALSE(ledger.reserve(UINT64_MAX)) << "no overflow";
}

}  // namespace
}  // namespace pensieve
