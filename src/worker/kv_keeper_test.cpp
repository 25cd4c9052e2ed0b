#include "worker/kv_keeper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/picture_token.h"
#include "platform/failing_files.h"
#include "worker/keeper_test.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// `GetParam()`: whether cells lie where the keeper cannot read into them.
class KvKeeperTest : public KeeperTest, public ::testing::WithParamInterface<bool> {
 protected:
  KvKeeperTest() { restart(); }

  // A new process: nothing is left but the store.
  void restart(bool exact = true, bool rows_alone = false) {
    keeper_.reset();
    FakeEngineOptions with;
    with.rows_alone = rows_alone;
    with.cells_apart = GetParam();
    engine_ = std::make_unique<FakeEngine>(with);
    StoreOptions options{folder_};
    options.free_min = 0;
    auto store = *BlockStore::open(real_files(), options, fingerprint_of("fake"), "{}");
    store_ = store.get();
    keeper_ = std::make_unique<KvKeeper>(*engine_, std::move(store), exact);
  }

  BlockStore* store_ = nullptr;  // The keeper's.

  // Takes a slot, fills it, runs the rest of the prompt and `answer` tokens one by one. The
  // engine CHECKs that what it was given back is what it once computed.
  Ran run(const std::vector<TokenId>& tokens, int answer = 3, bool release = true) {
    const SequenceId slot = *keeper_->take_slot(tokens, 0s);
    while (keeper_->restoring(slot)) keeper_->restore_some(slot);
    const int cached = keeper_->held(slot);
    step(slot, std::span(tokens).subspan(static_cast<std::size_t>(cached)), true);
    keeper_->prompt_read(slot);
    for (int i = 0; i < answer; ++i) step(slot, std::array{TokenId{100 + i}}, false);
    if (release) keeper_->release(slot);
    return {slot, cached};
  }

  void store_all() {
    keeper_->hurry();  // Tails need not rest.
    while (keeper_->has_work()) keeper_->work(50ms);
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  }
};

std::vector<TokenId> with_picture(int before, const std::array<std::uint64_t, 4>& digest, int rows, int behind) {
  std::vector<TokenId> all = prompt(1, before);
  const auto picture = picture_tokens(digest, 0, rows);
  all.insert(all.end(), picture.begin(), picture.end());
  const auto rest = prompt(2, behind);
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

constexpr std::array<std::uint64_t, 4> kCat = {1, 2, 3, 4}, kDog = {5, 6, 7, 8};

INSTANTIATE_TEST_SUITE_P(Cells, KvKeeperTest, ::testing::Values(false, true), [](const auto& with) { return with.param ? "apart" : "here"; });

TEST_P(KvKeeperTest, ATurnThatGoesOnWaitsForNoDisk) {
  restart(true, true);
  const auto first = prompt(1, 2000);
  run(first);
  ASSERT_TRUE(keeper_->has_work());
  const SequenceId slot = *keeper_->take_slot(first, 0s);  // Asked again: the answer of three tokens is cut.
  EXPECT_EQ(keeper_->held(slot), 1999);
  EXPECT_TRUE(keeper_->has_work()) << "stored behind what runs";
  step(slot, std::span(first).last(1), true);
  keeper_->release(slot);
  store_all();
  EXPECT_FALSE(keeper_->has_work());
  restart(true, true);
  EXPECT_EQ(run(first).cached, 1999) << "and nothing of it was forgotten";
}

// Whatever piece of it is being stored then.
TEST_P(KvKeeperTest, WhatIsCutWhileItIsStoredIsNotMixedWithWhatComesAfter) {
  for (int pieces = 0; pieces < 12; ++pieces) {
    fs::remove_all(folder_);
    restart(true, true);
    const auto first = prompt(1, 300);
    run(first, 5);
    keeper_->hurry();
    for (int i = 0; i < pieces; ++i) keeper_->work(1us);
    auto other = first;
    other.push_back(77);  // Another answer: five tokens are cut.
    for (int i = 0; i < 300; ++i) other.push_back(200 + i % 50);
    EXPECT_EQ(run(other).cached, 300);
    store_all();
    restart(true, true);
    EXPECT_EQ(run(other).cached, 600) << pieces;
  }
}

TEST_P(KvKeeperTest, AnotherPictureIsNoHit) {
  EXPECT_EQ(run(with_picture(40, kCat, 12, 60)).cached, 0);
  EXPECT_EQ(run(with_picture(40, kDog, 12, 60)).cached, 40) << "what stands before it is the same";
  EXPECT_EQ(run(with_picture(40, kDog, 12, 60)).cached, 104);
  // A picture of which only a part fits is not cut: its rows may see each other.
  auto longer = with_picture(40, kDog, 12, 0);
  longer.insert(longer.end(), 60, 9);
  EXPECT_EQ(run(longer).cached, 52);
}

TEST_P(KvKeeperTest, AnotherPictureIsNoHitInTheStore) {
  for (const int before : {200, 250, 252}) {  // The end of the first block lies in the picture.
    run(with_picture(before, kCat, 60, 500));
    store_all();
    restart();
    EXPECT_EQ(run(with_picture(before, kDog, 60, 500)).cached, before) << before;
    restart();
    EXPECT_EQ(run(with_picture(before, kCat, 60, 500)).cached, before + 60 + 500 - 8) << before;
  }
}

TEST_P(KvKeeperTest, WhatBreaksOffInAPictureIsCutBeforeIt) {
  const auto tokens = with_picture(200, kCat, 100, 400);
  const auto first = run(tokens, 3, false);
  const SequenceId second = *keeper_->take_slot(tokens, 0s);
  keeper_->restore_some(second);  // A block: it ends in the picture.
  ASSERT_TRUE(keeper_->restoring(second));
  keeper_->spoiled(first.slot);
  while (keeper_->restoring(second)) keeper_->restore_some(second);
  EXPECT_EQ(keeper_->held(second), 200);
}

// With one row of it in the first block two pictures may have the same name there, whose later rows differ: they
// would be mixed. Here they are made so.
TEST_P(KvKeeperTest, PicturesThatBeginAlikeAreNotMixed) {
  const std::array<std::uint64_t, 4> twin = {kCat[0], kCat[1], kCat[2], kCat[3] ^ 1};
  ASSERT_EQ(picture_tokens(kCat, 0, 6), picture_tokens(twin, 0, 6));
  ASSERT_NE(picture_tokens(kCat, 0, 7), picture_tokens(twin, 0, 7));
  run(with_picture(255, kCat, 60, 500));
  store_all();
  restart();
  EXPECT_EQ(run(with_picture(255, twin, 60, 500)).cached, 0) << "nothing was stored under such a name";
}

TEST_P(KvKeeperTest, WhatHoldsAPictureThatLeftIsNotReadAgain) {
  run(with_picture(40, kCat, 12, 3));  // Fewer rows behind the picture than a prefill takes.
  EXPECT_FALSE(keeper_->has_unread());
  run(with_picture(40, kDog, 12, 20));
  EXPECT_TRUE(keeper_->has_unread());
  const auto unread = keeper_->unread();
  EXPECT_TRUE(std::ranges::none_of(unread->tokens, is_picture));
}

TEST_P(KvKeeperTest, AConversationGoesOnInItsSlot) {
  const auto first = run(prompt(1, 100));
  EXPECT_EQ(first.cached, 0);
  auto longer = prompt(1, 100);
  longer.insert(longer.end(), 50, 9);
  const auto second = run(longer);
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_EQ(second.cached, 100) << "the answer's tokens were not prefilled";
  EXPECT_EQ(run(prompt(1, 100)).cached, 92) << "eight rows are left to run";
}

TEST_P(KvKeeperTest, TheStoreBeatsAFewMarksInASlot) {
  const auto wanted = prompt(1, 1000);
  run(wanted);
  store_all();
  auto alike = prompt(2, 300);
  std::copy_n(wanted.begin(), 4, alike.begin());
  run(alike);
  alike[10] = 5;
  run(alike);
  EXPECT_EQ(run(wanted).cached, 992) << "three blocks and the tail";
}

TEST_P(KvKeeperTest, WhatLiesInABusySlotIsCopied) {
  const auto running = run(prompt(1, 400), 3, false);
  const auto second = run(prompt(1, 400));
  EXPECT_NE(second.slot, running.slot);
  EXPECT_EQ(second.cached, 392);
}

TEST_P(KvKeeperTest, ASlotThatIsCopiedFromIsNotTakenMeanwhile) {
  const auto first = run(prompt(1, 600), 3, false);
  const auto tokens = prompt(1, 600);
  const SequenceId second = *keeper_->take_slot(tokens, 0s);
  ASSERT_TRUE(keeper_->restoring(second));
  keeper_->release(first.slot);
  EXPECT_FALSE(keeper_->any_free());
  EXPECT_FALSE(keeper_->take_slot(prompt(3, 50), 0s));
  while (keeper_->restoring(second)) keeper_->restore_some(second);
  EXPECT_TRUE(keeper_->any_free());
}

// A step of the source fails while it is copied from: its cells are gone, or in doubt.
TEST_P(KvKeeperTest, ASlotThatIsSpoiledWhileItIsCopiedFromGivesNoMore) {
  const auto tokens = prompt(1, 600);
  for (const int copied : {0, 256, 512}) {
    restart();
    const auto first = run(tokens, 3, false);
    const SequenceId second = *keeper_->take_slot(tokens, 0s);
    for (int done = 0; done < copied; done += 256) keeper_->restore_some(second);
    ASSERT_TRUE(keeper_->restoring(second));
    keeper_->spoiled(first.slot);
    keeper_->release(first.slot);
    EXPECT_TRUE(keeper_->any_free()) << "nothing is read from it any more";
    const SequenceId third = *keeper_->take_slot(prompt(2, 300), 0s);
    EXPECT_EQ(third, first.slot);
    step(third, prompt(2, 300), true);
    while (keeper_->restoring(second)) keeper_->restore_some(second);
    ASSERT_EQ(keeper_->held(second), copied);
    // The engine CHECKs that the cells are those it once computed.
    step(second, std::span(tokens).subspan(static_cast<std::size_t>(copied)), true);
    std::vector<TokenId> there(600);
    engine_->read_kv(second, 0, 0, 600, std::as_writable_bytes(std::span(there)));
    EXPECT_EQ(there, tokens);
  }
}

TEST_P(KvKeeperTest, ANewProcessFindsWhatWasStored) {
  run(prompt(1, 600));
  store_all();
  restart();
  EXPECT_EQ(run(prompt(1, 600)).cached, 592) << "two blocks and the tail";
  restart();
  EXPECT_EQ(run(prompt(1, 512)).cached, 504) << "the end of a block is left out where it must be run";
  restart();
  EXPECT_EQ(run(prompt(1, 540)).cached, 532) << "the beginning of a tail";
  restart();
  auto other = prompt(1, 600);
  other[560] = 251;
  EXPECT_EQ(run(other).cached, 560) << "as far as it is alike";
}

TEST_P(KvKeeperTest, ATailRestsBeforeItIsStored) {
  run(prompt(1, 100));
  EXPECT_FALSE(keeper_->has_work()) << "the conversation may go on at once";
  EXPECT_GT(keeper_->next_work_in(), 500ms);
  EXPECT_LE(keeper_->next_work_in(), 1s);
  run(prompt(2, 50));  // In the other slot,
  run(prompt(3, 50));  // and in that of the first: it is stored before that.
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  restart();
  EXPECT_EQ(run(prompt(1, 100)).cached, 92);
  EXPECT_EQ(run(prompt(2, 50)).cached, 0);
}

TEST_P(KvKeeperTest, ShortOfMemoryIdleSlotsAreStoredWithoutRestAndGivenBackWhenTheyAreCold) {
  run(prompt(1, 600), 0);
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 0u) << "there is memory";
  keeper_->spare(KvKeeper::Spare::cold);
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 1000u) << "the slot that nobody used";
  EXPECT_TRUE(keeper_->has_work()) << "the tail does not rest";
  while (keeper_->has_work()) keeper_->work(50ms);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 1000u) << "it was used a moment ago";
  EXPECT_LE(keeper_->next_work_in(), KvKeeper::kColdAfter);
  EXPECT_GT(keeper_->next_work_in(), KvKeeper::kColdAfter - 5s);
  const auto again = run(prompt(1, 600), 0);
  EXPECT_EQ(again.cached, 592);
}

TEST_P(KvKeeperTest, VeryShortOfMemoryIdleSlotsAreStoredAndDroppedAtOnce) {
  const auto running = run(prompt(2, 300), 3, false);
  run(prompt(1, 600), 3);
  keeper_->spare(KvKeeper::Spare::all);
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 0u) << "not before it is stored";
  while (keeper_->has_work()) keeper_->work(50ms);
  EXPECT_FALSE(keeper_->has_unread()) << "what is dropped is not read again";
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 1000u) << "the other one is in use";
  keeper_->give_back();
  EXPECT_EQ(keeper_->facts().bytes_given_back, 1000u);
  keeper_->spare(KvKeeper::Spare::nothing);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(run(prompt(1, 600)).cached, 592) << "from the store";
  EXPECT_EQ(keeper_->facts().bytes_given_back, 0u);
  keeper_->release(running.slot);
}

TEST_P(KvKeeperTest, AGrowingConversationWritesWhatIsNewAndABlockTakesThePlaceOfItsTails) {
  store_all();  // In haste from here on.
  const auto bytes_of = [](int tokens) { return block_file_bytes({{}, {}, std::vector<TokenId>(static_cast<std::size_t>(tokens)), {4u * static_cast<unsigned>(tokens), 4u * static_cast<unsigned>(tokens)}}); };
  std::uint64_t written = 0;
  for (const auto& [length, tails] : {std::pair{40, 1}, std::pair{90, 2}, std::pair{200, 3}, std::pair{300, 1}, std::pair{420, 2}, std::pair{600, 1}}) {
    run(prompt(1, length), 0);
    store_all();
    EXPECT_EQ(keeper_->facts().store_blocks, static_cast<std::uint64_t>(length / kBlockTokens + tails)) << length;
    const std::uint64_t now = keeper_->facts().store_bytes_written_today;
    if (length == 200) { EXPECT_EQ(now - written, bytes_of(110)) << "nothing is written twice"; }
    written = now;
  }
  restart();
  EXPECT_EQ(run(prompt(1, 650), 0).cached, 600);
  store_all();
  EXPECT_EQ(keeper_->facts().store_blocks, 4u) << "what was restored is grown, too";
  restart();
  EXPECT_EQ(run(prompt(1, 658), 0).cached, 650) << "two tails, one behind the other";
  restart();
  EXPECT_EQ(run(prompt(1, 790), 0).cached, 650);
  store_all();
  EXPECT_EQ(keeper_->facts().store_blocks, 4u) << "three blocks and a tail: those read from the store are replaced, too";
}

TEST_P(KvKeeperTest, AnotherConversationThatTakesTheSlotForItsBeginningLosesNothing) {
  restart(true, true);
  auto first = prompt(1, 700), second = first;
  first.insert(first.end(), 60, 8);
  second.insert(second.end(), 60, 9);
  run(prompt(5, 600), 0, false);  // So that there is but one slot.
  EXPECT_EQ(run(first, 0).cached, 0);
  EXPECT_EQ(run(second, 0).cached, 700) << "cut there, in the same slot";
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(run(first, 0).cached, 759) << "from the store: its end was not lost";
}

TEST_P(KvKeeperTest, ATailOnWhichAnotherConversationBuildsStays) {
  store_all();
  run(prompt(1, 60), 0);
  store_all();
  auto other = prompt(1, 60);
  other.insert(other.end(), 80, 3);
  run(other, 0);
  store_all();
  run(prompt(1, 300), 0);
  store_all();
  EXPECT_EQ(keeper_->facts().store_blocks, 4u) << "the tail of 60, that of the other behind it, a block and its tail";
  restart();
  EXPECT_EQ(run(other, 0).cached, 132);
}

// Evicted, or removed by hand: what builds on it could not be found.
TEST_P(KvKeeperTest, WhatComesBehindATailThatWasLostIsStoredWithIt) {
  store_all();
  run(prompt(1, 60), 0);
  store_all();
  restart();
  run(prompt(1, 100), 0);  // Its first 60 from the store.
  store_->set_aside(child_of(store_->fingerprint(), prompt(1, 60)));
  store_all();
  restart();
  EXPECT_EQ(run(prompt(1, 108), 0).cached, 100);
}

TEST_P(KvKeeperTest, WithoutHasteATailThatGrewByAFewTokensIsNotWrittenInBetween) {
  for (int length = 40; length < 200; length += 10) {
    run(prompt(1, length), 0);
    keeper_->work(50ms);
  }
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(keeper_->facts().store_blocks_written, 0u);
}

TEST_P(KvKeeperTest, AnswersAreReadAgainAndThenReused) {
  const auto tokens = prompt(1, 300);
  const auto first = run(tokens, 60);
  const auto unread = keeper_->unread();
  ASSERT_TRUE(unread);
  EXPECT_EQ(unread->slot, first.slot);
  EXPECT_EQ(unread->begin, 300);
  step(unread->slot, unread->tokens, true);
  keeper_->reread_done(unread->slot);
  EXPECT_FALSE(keeper_->has_unread());
  auto longer = tokens;
  for (int i = 0; i < 60; ++i) longer.push_back(100 + i);
  longer.insert(longer.end(), 20, 7);
  EXPECT_EQ(run(longer).cached, 360);
}

TEST_P(KvKeeperTest, WithoutExactModeOrWhereRowsAreAloneAnswersAreReusedAsTheyAre) {
  int first = 1;
  for (const auto& [exact, rows_alone] : {std::pair{false, false}, std::pair{true, true}}) {
    restart(exact, rows_alone);
    run(prompt(first, 300), 5);
    auto longer = prompt(first++, 300);
    for (int i = 0; i < 5; ++i) longer.push_back(100 + i);
    longer.push_back(7);
    EXPECT_EQ(run(longer).cached, 305);
    EXPECT_EQ(run(longer).cached, 305) << "one is left for its logits";
    EXPECT_FALSE(keeper_->has_unread());
    store_all();
    restart(exact, rows_alone);
    EXPECT_EQ(run(longer).cached, 305) << "from the store";
  }
}

// A stream that dies with its process goes on from there.
TEST_P(KvKeeperTest, WhereRowsAreAloneAnAnswerThatRunsIsStoredAsItGrows) {
  restart(true, true);
  std::vector<TokenId> all = prompt(1, 300);
  const SequenceId slot = run(all, 0, false).slot;
  for (int i = 0; i < 300; ++i) {
    all.push_back(100 + i % 90);
    step(slot, std::span(all).last(1), false);
  }
  keeper_->hurry();
  while (keeper_->has_work()) keeper_->work(50ms);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  restart(true, true);
  EXPECT_GE(run(all).cached, 512);
}

// Every call to the disk fails once, or from there on: in a worker that starts, answers,
// is killed, starts again and finds what was stored. Whatever is in place then is what was
// asked for, and the answer is right.
TEST_P(KvKeeperTest, AnswersAreRightWhicheverCallToTheDiskFails) {
  std::string said;
  for (int i = 0; i < 700; ++i) said.push_back(static_cast<char>('a' + i * 7 % 26));
  std::vector<TokenId> question{260, 257};
  for (const char c : said) question.push_back(c);
  question.insert(question.end(), {259, 258});
  int found = 0;
  with_every_call_failing({ErrorCode::overloaded, ErrorCode::corrupt}, 300, [&](FailingFiles& files, int nth) {
    fs::remove_all(folder_);
    for (int process = 0; process < 2; ++process) {
      keeper_.reset();
      engine_ = std::make_unique<FakeEngine>(FakeEngineOptions{2, 4096, 0us});
      StoreOptions options{folder_};
      options.free_min = 0;
      auto store = BlockStore::open(files, options, fingerprint_of("fake"), "{}");
      keeper_ = std::make_unique<KvKeeper>(*engine_, store ? *std::move(store) : nullptr, true);
      const SequenceId slot = *keeper_->take_slot(question, 300s);
      while (keeper_->restoring(slot)) keeper_->restore_some(slot);
      const int cached = keeper_->held(slot);
      found += cached;
      std::vector<TokenId> there(static_cast<std::size_t>(cached));
      if (cached > 0) engine_->read_kv(slot, 0, 0, cached, std::as_writable_bytes(std::span(there)));
      ASSERT_TRUE(std::ranges::equal(there, std::span(question).first(there.size()))) << "call " << nth;
      step(slot, std::span(question).subspan(there.size()), true);
      keeper_->prompt_read(slot);
      std::size_t row = question.size() - there.size() - 1;
      for (int i = 0; i < 20; ++i) {
        const auto logits = engine_->logits(row);
        const auto next = static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
        ASSERT_EQ(next, said[static_cast<std::size_t>(i)]) << "call " << nth;
        step(slot, std::array{next}, false);
        row = 0;
      }
      keeper_->release(slot);
      store_all();
    }
    keeper_.reset();
  });
  EXPECT_GT(found, 100 * 600) << "most failures cost nothing";
}

// As where the process was stopped meanwhile.
TEST_P(KvKeeperTest, AfterAPieceThatTookLongStoringGoesOn) {
  run(prompt(1, 600));
  keeper_->hurry();
  engine_->dawdle(600ms);
  for (int turn = 0; turn < 100 && keeper_->has_work(); ++turn) {
    keeper_->work(50ms);
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  }
  EXPECT_FALSE(keeper_->has_work());
}

TEST_P(KvKeeperTest, ASpoiledSlotIsNeverReused) {
  const auto first = run(prompt(1, 100), 3, false);
  keeper_->spoiled(first.slot);
  keeper_->release(first.slot);
  EXPECT_EQ(run(prompt(1, 100)).cached, 0);
}

}  // namespace
}  // namespace pensieve
