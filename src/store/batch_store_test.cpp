#include "store/batch_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

namespace pensieve {
namespace {

class BatchStoreTest : public testing::Test {
 protected:
  BatchStoreTest() : folder_(std::filesystem::temp_directory_path() / ("pensieve-batches-" + std::to_string(::getpid()))), path_((folder_ / "sub" / "b.sqlite").string()) { reopen(); }
  ~BatchStoreTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void reopen() {
    store_.reset();
    auto opened = BatchStore::open(path_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    store_ = *std::move(opened);
  }
  void create(const std::string& id, int items, std::int64_t expires = 1000) {
    std::vector<BatchItem> list;
    for (int i = 0; i < items; ++i) list.push_back({"c" + std::to_string(i), R"({"n":)" + std::to_string(i) + "}"});
    ASSERT_TRUE(store_->create(id, list, 1, expires).ok());
  }

  std::filesystem::path folder_;
  std::string path_;
  std::unique_ptr<BatchStore> store_;
};

TEST_F(BatchStoreTest, RunsInOrderAndEndsAlsoAcrossARestart) {
  create("a", 2);
  create("b", 1);
  auto next = *store_->next();
  ASSERT_TRUE(next);
  EXPECT_EQ(next->batch_id + next->item.custom_id + next->item.params, R"(ac0{"n":0})");
  ASSERT_TRUE(store_->finish("a", 0, ItemState::succeeded, "one", 5).ok());
  EXPECT_FALSE(store_->get("a")->ended_ms);
  reopen();
  next = *store_->next();
  EXPECT_EQ(next->item.custom_id, "c1");
  ASSERT_TRUE(store_->finish("a", 1, ItemState::errored, "two", 6).ok());
  const auto batch = store_->get("a");
  EXPECT_EQ(batch->ended_ms, 6);
  EXPECT_EQ(batch->counts[static_cast<int>(ItemState::succeeded)], 1);
  EXPECT_EQ(batch->counts[static_cast<int>(ItemState::errored)], 1);
  const auto lines = store_->results("a", 0, 10);
  ASSERT_EQ(lines->size(), 2u);
  EXPECT_EQ((*lines)[1].result, "two");
  EXPECT_EQ((*store_->next())->batch_id, "b");
}

TEST_F(BatchStoreTest, AnItemIsFinishedOnce) {
  create("a", 1);
  ASSERT_TRUE(store_->finish("a", 0, ItemState::succeeded, "first", 2).ok());
  ASSERT_TRUE(store_->finish("a", 0, ItemState::errored, "second", 3).ok());
  EXPECT_EQ((*store_->results("a", 0, 1))[0].result, "first");
  EXPECT_EQ(store_->get("a")->ended_ms, 2);
}

TEST_F(BatchStoreTest, CancelSparesTheOneThatRuns) {
  create("a", 3);
  ASSERT_TRUE(store_->cancel("a", 0, 4).ok());
  auto batch = store_->get("a");
  EXPECT_EQ(batch->cancel_ms, 4);
  EXPECT_FALSE(batch->ended_ms);
  ASSERT_TRUE(store_->finish("a", 0, ItemState::canceled, "", 5).ok());
  batch = store_->get("a");
  EXPECT_EQ(batch->ended_ms, 5);
  EXPECT_EQ(batch->counts[static_cast<int>(ItemState::canceled)], 3);
  EXPECT_EQ(store_->cancel("a", std::nullopt, 6).error().code, ErrorCode::invalid_argument);
}

TEST_F(BatchStoreTest, ExpiryEndsWhatIsLeft) {
  create("a", 2, 10);
  ASSERT_TRUE(store_->finish("a", 0, ItemState::succeeded, "x", 2).ok());
  ASSERT_TRUE(store_->expire(9).ok());
  EXPECT_FALSE(store_->get("a")->ended_ms);
  ASSERT_TRUE(store_->expire(10).ok());
  EXPECT_EQ(store_->get("a")->ended_ms, 10);
  EXPECT_EQ(store_->get("a")->counts[static_cast<int>(ItemState::expired)], 1);
  EXPECT_FALSE(*store_->next());
}

TEST_F(BatchStoreTest, PagesGoBothWays) {
  for (const char* id : {"a", "b", "c", "d"}) create(id, 1);
  const auto ids = [](const Result<BatchStore::Page>& page) {
    std::string all;
    for (const Batch& batch : page->batches) all += batch.id;
    return all + (page->has_more ? "+" : "");
  };
  EXPECT_EQ(ids(store_->list(2, "", "")), "dc+");
  EXPECT_EQ(ids(store_->list(2, "c", "")), "ba");
  EXPECT_EQ(ids(store_->list(1, "", "b")), "c+");
  EXPECT_EQ(ids(store_->list(10, "", "b")), "dc");
}

TEST_F(BatchStoreTest, OnlyEndedBatchesAreRemoved) {
  create("a", 1);
  EXPECT_EQ(store_->remove("a").error().code, ErrorCode::invalid_argument);
  ASSERT_TRUE(store_->cancel("a", std::nullopt, 2).ok());
  EXPECT_TRUE(store_->remove("a").ok());
  EXPECT_EQ(store_->get("a").error().code, ErrorCode::not_found);
  EXPECT_TRUE(store_->results("a", 0, 10)->empty());
}

TEST_F(BatchStoreTest, OneServerAtATime) {
  create("a", 1);
  EXPECT_EQ(BatchStore::open(path_).error().code, ErrorCode::unavailable);
  const auto mode = std::filesystem::status(path_).permissions();
  EXPECT_EQ(mode & (std::filesystem::perms::group_all | std::filesystem::perms::others_all), std::filesystem::perms::none);
}

}  // namespace
}  // namespace pensieve
