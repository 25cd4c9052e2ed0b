// What tests of both keepers stand on: a folder for the store, the scripted engine, a step of it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/fake_engine.h"
#include "worker/slot_keeper.h"

namespace pensieve {

inline std::vector<TokenId> prompt(int first, int count) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) tokens[static_cast<std::size_t>(i)] = (first * 31 + i * 7) % 250;
  return tokens;
}

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    std::string name = (std::filesystem::temp_directory_path() / "pensieve-keeper-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~KeeperTest() override {
    keeper_.reset();
    std::filesystem::remove_all(folder_);
  }

  struct Ran {
    SequenceId slot{};
    int cached = 0;
  };

  void step(SequenceId slot, std::span<const TokenId> tokens, bool prefill) {
    std::vector<Row> rows;
    for (const TokenId token : tokens) rows.push_back({slot, keeper_->held(slot) + static_cast<int>(rows.size()), token, false});
    rows.back().wants_logits = true;
    ASSERT_TRUE(engine_->step(rows));
    keeper_->ran(slot, tokens, prefill);
  }

  std::string folder_;
  std::unique_ptr<FakeEngine> engine_;
  std::unique_ptr<SlotKeeper> keeper_;
};

}  // namespace pensieve
