#include "worker/state_keeper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/picture_token.h"
#include "platform/failing_files.h"
#include "worker/keeper_test.h"
#include "worker/plan.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::vector<TokenId> joined(std::vector<TokenId> tokens, const std::vector<TokenId>& more) {
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

// The scripted engine with a state that is whole or nothing: it CHECKs that it is never cut, and that
// both halves of a state that it is given back agree.
class StateKeeperTest : public KeeperTest {
 protected:
  StateKeeperTest() { restart(); }

  void restart(bool exact = true, bool with_store = true, std::uint64_t size_max = 1u << 30, int grain = 1) { start(real_files(), exact, with_store, size_max, grain); }

  // A new process: nothing is left but the store.
  void start(Files& files, bool exact = true, bool with_store = true, std::uint64_t size_max = 1u << 30, int grain = 1) {
    keeper_.reset();
    engine_ = std::make_unique<FakeEngine>(FakeEngineOptions{2, 4096, 0us, true, grain});
    StoreOptions options{folder_};
    options.free_min = 0;
    options.size_max = size_max;
    std::unique_ptr<BlockStore> store;
    if (with_store) {
      auto opened = BlockStore::open(files, options, fingerprint_of("fake states"), "{}");
      if (opened) store = *std::move(opened);
    }
    keeper_ = make_slot_keeper(*engine_, std::move(store), exact);
  }

  // As the step loop does it: chunks of up to 512 rows, cut where the keeper says.
  Ran run(const std::vector<TokenId>& tokens, const std::vector<TokenId>& answer = {100, 101, 102}, bool release = true, std::chrono::seconds keep_for = 0s, int chunk = 512, const std::vector<std::int32_t>& marks = {}) {
    const SequenceId slot = *keeper_->take_slot(tokens, keep_for, marks);
    while (keeper_->restoring(slot)) keeper_->restore_some(slot);
    const int cached = keeper_->held(slot);
    kept_ = keeper_->kept(slot, static_cast<int>(tokens.size()));
    std::vector<TokenId> there(static_cast<std::size_t>(cached));
    if (cached > 0) engine_->read_kv(slot, 0, 0, cached, std::as_writable_bytes(std::span(there)));
    EXPECT_TRUE(std::ranges::equal(there, std::span(tokens).first(there.size()))) << "what is in place is the prompt's";
    while (keeper_->held(slot) < std::ssize(tokens)) {
      const int begin = keeper_->held(slot);
      if (is_picture(tokens[static_cast<std::size_t>(begin)])) {
        run_picture(slot, tokens);
        continue;
      }
      const int text_end = segment_end(tokens, begin);
      const int end = keeper_->chunk_end(slot, prefill_chunk_end(begin, text_end, chunk));
      const bool whole = end == text_end && (begin == 0 || is_picture(tokens[static_cast<std::size_t>(begin) - 1]));
      EXPECT_TRUE(end - begin >= kPrefillRowsMin || whole) << begin << " to " << end << ": of a text that has more rows";
      EXPECT_LE(end, text_end);
      EXPECT_LE(end - begin, engine_->facts().step_rows_max);
      step(slot, std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)), true);
    }
    keeper_->prompt_read(slot);
    for (const TokenId token : answer) step(slot, std::array{token}, false);
    if (release) keeper_->release(slot);
    return {slot, cached};
  }

  void run_picture(SequenceId slot, std::span<const TokenId> tokens) {
    const auto rest = tokens.subspan(static_cast<std::size_t>(keeper_->held(slot)));
    ASSERT_TRUE(begins_picture(rest.front())) << "gone on with in the midst of a picture";
    const auto end = std::ranges::find_if(rest.subspan(1), [](TokenId token) { return !is_picture(token) || begins_picture(token); });
    step(slot, rest.first(static_cast<std::size_t>(end - rest.begin())), true);
  }

  // One whose client marked it there.
  Ran run_marked(const std::vector<TokenId>& tokens, const std::vector<std::int32_t>& marks) { return run(tokens, {100, 101, 102}, true, 300s, 512, marks); }

  // The tokens of the checkpoints on disk, rising.
  std::vector<int> places_on_disk() {
    EXPECT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    std::vector<int> places;
    for (const auto& path : files_on_disk()) places.push_back(std::stoi(path.stem().string().substr(33)));
    std::ranges::sort(places);
    return places;
  }

  int kept_ = 0;  // What the last one's keeper said.

  // Nobody asks for a while: what is to be stored is stored, answers are read again.
  void rest() {
    keeper_->hurry();
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    for (int turns = 0; turns < 100; ++turns) {
      while (keeper_->has_work()) keeper_->work(50ms);
      ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
      const auto unread = keeper_->unread();
      if (!unread) break;
      EXPECT_EQ(keeper_->held(unread->slot), unread->begin);
      EXPECT_TRUE(std::ranges::none_of(unread->tokens, is_picture)) << "it left with its request";
      const int total = unread->begin + static_cast<int>(unread->tokens.size());
      while (keeper_->held(unread->slot) < total) {
        const int begin = keeper_->held(unread->slot);
        const int end = keeper_->chunk_end(unread->slot, prefill_chunk_end(begin, total, 512));
        EXPECT_GE(end - begin, kPrefillRowsMin);
        step(unread->slot, std::span(unread->tokens).subspan(static_cast<std::size_t>(begin - unread->begin), static_cast<std::size_t>(end - begin)), true);
      }
      keeper_->reread_done(unread->slot);
    }
    EXPECT_FALSE(keeper_->has_work());
  }

  std::vector<fs::path> files_on_disk() const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
      if (entry.path().extension() == ".state" && entry.path().parent_path().filename() != "set_aside") found.push_back(entry.path());
    }
    return found;
  }
};

TEST_F(StateKeeperTest, TheSamePromptAgainComesFromItsCheckpoint) {
  EXPECT_EQ(run(prompt(1, 300)).cached, 0);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(run(prompt(1, 300)).cached, 292) << "eight tokens before its end, before the answer was read again";
  restart();
  EXPECT_EQ(run(prompt(1, 300)).cached, 292) << "and in another process";
  restart();
  EXPECT_EQ(run(prompt(1, 299)).cached, 0) << "a checkpoint cannot be cut";
}

TEST_F(StateKeeperTest, TheNextTurnGoesOnAtTheEndOfTheOneBefore) {
  const std::vector<TokenId> answer(40, 200);
  const auto first = run(prompt(1, 300), answer);
  rest();
  const auto second = joined(joined(prompt(1, 300), answer), prompt(2, 50));
  const auto turn = run(second, answer);
  EXPECT_EQ(turn.cached, 340) << "it lies in its slot";
  EXPECT_EQ(turn.slot, first.slot);
  rest();
  restart();
  EXPECT_EQ(run(joined(joined(second, answer), prompt(3, 50))).cached, 430) << "from the disk";
}

TEST_F(StateKeeperTest, InExactModeAnAnswerCountsWhenItWasReadAgain) {
  const std::vector<TokenId> answer(40, 200);
  run(prompt(1, 300), answer);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_TRUE(keeper_->has_unread());
  const auto second = joined(joined(prompt(1, 300), answer), prompt(2, 50));
  EXPECT_EQ(run(second).cached, 292);
  restart(false);
  EXPECT_EQ(run(prompt(5, 300), answer).cached, 0);
  EXPECT_FALSE(keeper_->has_unread());
  EXPECT_EQ(run(joined(joined(prompt(5, 300), answer), prompt(2, 50))).cached, 340) << "without it at once";
}

TEST_F(StateKeeperTest, ABeginningThatWasSeenTwiceGetsItsOwnCheckpoint) {
  const auto common = prompt(1, 400);
  run(joined(common, prompt(2, 100)));
  EXPECT_EQ(run(joined(common, prompt(3, 120))).cached, 0);
  rest();
  EXPECT_EQ(run(joined(common, prompt(4, 90))).cached, 400);
  restart();
  EXPECT_EQ(run(joined(common, prompt(5, 90))).cached, 400);
}

TEST_F(StateKeeperTest, AMarkOfTheClientIsFoundByWhatSharesTheBeginningUpToItAlone) {
  const auto common = prompt(1, 400);
  EXPECT_EQ(run_marked(joined(common, prompt(2, 300)), {400}).cached, 0);
  EXPECT_EQ(kept_, 692) << "and the end, as ever";
  EXPECT_EQ(places_on_disk(), (std::vector{400, 692}));
  EXPECT_EQ(run_marked(joined(common, prompt(3, 120)), {400}).cached, 400);
  for (int other = 5; other < 9; ++other) run(prompt(other, 300));
  EXPECT_EQ(run_marked(joined(common, prompt(4, 90)), {400}).cached, 400) << "after other conversations took the slots";
  restart();
  EXPECT_EQ(run_marked(joined(common, prompt(9, 90)), {400}).cached, 400) << "and in another process";
  EXPECT_EQ(run_marked(joined(prompt(1, 399), prompt(9, 90)), {399}).cached, 0) << "a checkpoint cannot be cut";
}

TEST_F(StateKeeperTest, MarksThatSaveLittleOverTheOneBeforeGetNone) {
  const auto place = [this](int number, int length, const std::vector<std::int32_t>& marks) {
    for (const auto& path : files_on_disk()) fs::remove(path);
    restart();
    run_marked(prompt(number, length), marks);
    return places_on_disk();
  };
  EXPECT_EQ(place(1, 500, {30, 100, 120, 300, 363, 364}), (std::vector{100, 300, 364, 492}));
  EXPECT_EQ(place(2, 500, {470}), (std::vector{470})) << "the end saves 22 more than the mark";
  EXPECT_EQ(place(3, 500, {490}), (std::vector{492})) << "fewer than eight rows would be left between them";
  EXPECT_EQ(place(4, 60, {30}), (std::vector<int>{}));
  EXPECT_EQ(kept_, 0) << "and the client is told";
  restart(true, true, 1u << 30, 64);
  for (const auto& path : files_on_disk()) fs::remove(path);
  restart(true, true, 1u << 30, 64);
  run_marked(prompt(5, 500), {200, 250, 300});
  EXPECT_EQ(places_on_disk(), (std::vector{192, 256, 448})) << "in grains";
}

TEST_F(StateKeeperTest, WhatLiesAtAMarkStaysWhileItsConversationGoesOn) {
  const std::uint64_t one = block_file_bytes({{}, {}, std::vector<TokenId>(392), {std::uint64_t{392 * 8}}, true});
  restart(true, true, one * 4);
  const auto common = prompt(1, 200);
  const auto first = joined(common, prompt(2, 200));
  run(first, {100}, true, 0s, 512, {200});
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(run_marked(joined(first, prompt(3, 30)), {200}).cached, 392);
  for (int other = 5; other < 12; ++other) {
    run(prompt(other, 300), {100});
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  }
  EXPECT_GT(keeper_->facts().store_blocks_evicted, 0u);
  EXPECT_EQ(run(joined(common, prompt(4, 90))).cached, 200);
}

TEST_F(StateKeeperTest, ACheckpointIsMadeWhereverChunksAreCut) {
  for (int length = 100; length < 160; ++length) {
    run(prompt(length, length), {100}, true, 0s, 16);
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    ASSERT_EQ(run(prompt(length, length), {100}, true, 0s, 16).cached, length - kPrefillRowsMin);
  }
  for (const int length : {519, 520, 521, 527, 528, 1031, 1032, 1040}) {
    run(prompt(length, length));
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    ASSERT_EQ(run(prompt(length, length)).cached, length - kPrefillRowsMin);
  }
}

TEST_F(StateKeeperTest, InGrainsWhereTheEngineHasThem) {
  restart(true, true, 1u << 30, 64);
  const std::vector<TokenId> answer(100, 200);
  run(prompt(1, 300), answer);
  rest();
  EXPECT_EQ(run(prompt(1, 300), answer).cached, 256);
  const auto second = joined(joined(prompt(1, 300), answer), prompt(2, 50));
  restart(true, true, 1u << 30, 64);
  EXPECT_EQ(run(second, answer).cached, 384) << "of 400 that the turn had";
  for (const auto& path : files_on_disk()) EXPECT_EQ(std::stoi(path.stem().string().substr(33)) % 64, 0) << path;
  restart(false, true, 1u << 30, 64);
  run(prompt(5, 300), answer);
  EXPECT_EQ(run(joined(joined(prompt(5, 300), answer), prompt(2, 50))).cached, 400) << "without exact mode anywhere";
}

TEST_F(StateKeeperTest, InGrainsNoFewRowsOfAnAnswerAreLeftToReadAgain) {
  restart(true, true, 1u << 30, 64);
  for (int length = 64; length < 200; ++length) {
    run(prompt(length, 300), std::vector<TokenId>(static_cast<std::size_t>(length), 200));
    rest();  // It looks at each step.
  }
}

TEST_F(StateKeeperTest, AConversationKeepsItsLastCheckpoints) {
  auto tokens = prompt(1, 200);
  const std::vector<TokenId> answer(30, 200);
  for (int turn = 0; turn < 6; ++turn) {
    run(tokens, answer);
    rest();
    EXPECT_LE(files_on_disk().size(), 3u) << turn;
    tokens = joined(joined(tokens, answer), prompt(turn + 7, 80));
  }
  restart();
  EXPECT_GE(run(tokens).cached, 200 + 5 * 110);
}

TEST_F(StateKeeperTest, MarkedPromptsStayThoughTheStoreIsFull) {
  const std::uint64_t one = block_file_bytes({{}, {}, std::vector<TokenId>(292), {std::uint64_t{292 * 8}}, true});
  restart(true, true, one * 3);
  run(prompt(1, 300), {100}, true, 300s);
  for (int other = 2; other < 8; ++other) {
    run(prompt(other, 300), {100});
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  }
  EXPECT_LE(keeper_->facts().store_bytes, one * 3);
  EXPECT_GT(keeper_->facts().store_blocks_evicted, 0u);
  EXPECT_EQ(run(prompt(1, 300)).cached, 292);
  EXPECT_EQ(run(prompt(2, 300)).cached, 0);
}

TEST_F(StateKeeperTest, WithoutAStoreAConversationGoesOnInItsSlot) {
  restart(false, false);
  run(prompt(1, 300));
  EXPECT_EQ(run(joined(joined(prompt(1, 300), {100, 101, 102}), prompt(2, 50))).cached, 303);
  EXPECT_EQ(run(prompt(1, 300)).cached, 0);
}

std::vector<TokenId> picture(std::uint64_t of, int rows = 12) { return picture_tokens({of, ~of, of << 9, 7}, 0, rows); }

TEST_F(StateKeeperTest, AnotherPictureIsNoHitAndWhatStandsBeforeItIsOne) {
  const auto with = [](std::uint64_t of) { return joined(joined(prompt(1, 300), picture(of)), prompt(2, 80)); };
  EXPECT_EQ(run(with(1)).cached, 0);
  EXPECT_EQ(run(with(2)).cached, 0) << "now it was seen twice";
  rest();
  EXPECT_EQ(run(with(3)).cached, 300);
  EXPECT_EQ(run(with(1)).cached, 384);
  restart();
  EXPECT_EQ(run(with(2)).cached, 384);
  EXPECT_EQ(run(with(4)).cached, 300);
}

TEST_F(StateKeeperTest, ACheckpointStandsNeitherInAPictureNorTooNearToOne) {
  // By how many tokens follow the picture: the place 8 tokens before the end lies in it, or less than 8 behind it.
  for (int behind = 1; behind < 20; ++behind) {
    const auto tokens = joined(joined(prompt(behind, 300), picture(1)), prompt(2, behind));
    run(tokens);
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    EXPECT_EQ(run(tokens).cached, behind < 16 ? 300 : 304 + behind) << behind;
  }
  // With a short text before it even there would be too few rows.
  const auto tokens = joined(joined(joined(joined(prompt(90, 300), picture(1)), prompt(3, 5)), picture(2)), prompt(2, 4));
  run(tokens);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_EQ(run(tokens).cached, 300);
}

TEST_F(StateKeeperTest, AMarkBehindAPictureIsFoundAndOneInItMovesBeforeIt) {
  const auto common = joined(joined(prompt(1, 300), picture(1)), prompt(2, 80));
  run_marked(joined(common, prompt(3, 100)), {100, 305, 392});
  EXPECT_EQ(places_on_disk(), (std::vector{100, 300, 392, 484}));
  restart();
  EXPECT_EQ(run(joined(common, prompt(4, 50))).cached, 392);
  EXPECT_EQ(run(joined(joined(prompt(1, 300), picture(2)), prompt(2, 80))).cached, 300);
}

TEST_F(StateKeeperTest, ACheckpointTooShortlyBeforeAnotherPromptsPictureIsNotUsed) {
  for (const int length : {200, 300}) {
    run(prompt(1, length));
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  }
  restart();  // Checkpoints lie at 192 and 292.
  EXPECT_EQ(run(joined(joined(prompt(1, 300), picture(1)), prompt(2, 80))).cached, 292);
  restart();
  EXPECT_EQ(run(joined(joined(prompt(1, 297), picture(2)), prompt(2, 80))).cached, 192) << "five rows would be run by another kernel";
  restart(false);
  EXPECT_EQ(run(joined(prompt(1, 292), prompt(5, 80))).cached, 292);
}

TEST_F(StateKeeperTest, ASlotThatEndsTooShortlyBeforeAPictureIsNotGoneOnWith) {
  restart(true, false);
  run(prompt(1, 300), {});
  EXPECT_EQ(run(joined(joined(prompt(1, 303), picture(1)), prompt(2, 80))).cached, 0);
  run(prompt(5, 300), {});
  EXPECT_EQ(run(joined(joined(prompt(5, 308), picture(1)), prompt(2, 80))).cached, 300);
}

TEST_F(StateKeeperTest, WhatHoldsAPictureThatLeftIsNotReadAgain) {
  const std::vector<TokenId> answer(40, 200);
  run(joined(joined(prompt(1, 300), picture(1)), prompt(2, 80)), answer);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  EXPECT_TRUE(keeper_->has_unread()) << "its checkpoint lies behind the picture";
  rest();
  EXPECT_EQ(run(joined(joined(joined(joined(prompt(1, 300), picture(1)), prompt(2, 80)), answer), prompt(3, 50))).cached, 432);
  const auto second = joined(joined(prompt(7, 300), picture(1)), prompt(2, 10));
  run(second, answer);
  ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
  rest();  // It looks at every unread() that it gets.
  EXPECT_EQ(run(joined(joined(second, answer), prompt(3, 50))).cached, 300);
}

// run() looks at each step: pictures whole, texts with rows enough, and what is in place is the prompt's.
TEST_F(StateKeeperTest, WithPicturesAnywhereStepsAndWhatIsInPlaceAreRight) {
  std::mt19937 random(5);
  for (const int grain : {1, 64}) {
    restart(true, true, 1u << 30, grain);
    std::vector<std::vector<TokenId>> prompts;
    std::int64_t found = 0;
    for (int round = 0; round < 120; ++round) {
      // Of a few beginnings, going other ways anywhere.
      std::vector<TokenId> tokens = prompts.empty() || random() % 4 == 0 ? prompt(static_cast<int>(random() % 3), 100) : prompts[random() % prompts.size()];
      if (tokens.size() > 700) tokens.resize(1 + random() % 400);
      while (!tokens.empty() && is_picture(tokens.back())) tokens.pop_back();
      for (auto i = random() % 3; i-- > 0;) tokens = joined(joined(tokens, picture(random() % 3, 4 + static_cast<int>(random() % 40))), prompt(static_cast<int>(random() % 3), static_cast<int>(random() % 30)));
      tokens = joined(tokens, prompt(static_cast<int>(random() % 3), 1 + static_cast<int>(random() % 90)));
      prompts.push_back(tokens);
      std::vector<std::int32_t> marks;
      for (auto i = random() % 4; i-- > 0;) marks.push_back(static_cast<std::int32_t>(random() % tokens.size()));
      std::ranges::sort(marks);
      found += run(tokens, {100, 101}, true, random() % 2 == 0 ? 0s : 300s, random() % 2 == 0 ? 16 : 512, marks).cached;
      if (random() % 3 == 0) rest();
    }
    EXPECT_GT(found, 120 * 60) << grain;
  }
}

// A checkpoint that is not what it should be is never used.
TEST_F(StateKeeperTest, DamagedCheckpointsAreSetAside) {
  const auto damage = [&](const std::function<void(std::string&)>& hurt) {
    run(prompt(1, 300));
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    keeper_.reset();
    ASSERT_EQ(files_on_disk().size(), 1u);
    const fs::path path = files_on_disk().front();
    std::ifstream in(path, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    in.close();
    hurt(bytes);
    std::ofstream(path, std::ios::binary) << bytes;
    restart();
    EXPECT_EQ(run(prompt(1, 300)).cached, 0);
    EXPECT_EQ(keeper_->facts().store_blocks_set_aside, 1u);
    ASSERT_TRUE(keeper_->flush(SteadyClock::now() + 10s));
    restart();
    EXPECT_EQ(run(prompt(1, 300)).cached, 292) << "it was written anew";
    keeper_.reset();
    for (const auto& left : files_on_disk()) fs::remove(left);
    restart();
  };
  damage([](std::string& bytes) { bytes[bytes.size() / 2] ^= 1; });
  damage([](std::string& bytes) { bytes[60] ^= 1; });
  damage([](std::string& bytes) { bytes.resize(bytes.size() - 100); });
  damage([](std::string& bytes) { bytes.clear(); });
}

TEST_F(StateKeeperTest, ASpoiledSlotIsNeverReused) {
  restart(false, false);
  const auto first = run(prompt(1, 300), {100}, false);
  keeper_->spoiled(first.slot);
  keeper_->release(first.slot);
  EXPECT_EQ(run(joined(prompt(1, 300), prompt(2, 50))).cached, 0);
}

TEST_F(StateKeeperTest, ARequestThatLeavesBeforeItsStateIsBackLeavesNothing) {
  run(prompt(1, 300));
  rest();
  restart();
  const SequenceId slot = *keeper_->take_slot(prompt(1, 300), 0s);
  ASSERT_TRUE(keeper_->restoring(slot));
  keeper_->release(slot);
  EXPECT_EQ(keeper_->held(slot), 0);
  EXPECT_EQ(run(prompt(1, 300)).cached, 292);
}

// Every call to the disk fails once, or from there on: in a worker that starts, answers, reads its answer again,
// is killed, starts again and finds what was stored. run() compares what is in place.
TEST_F(StateKeeperTest, WhatIsInPlaceIsRightWhicheverCallToTheDiskFails) {
  const std::vector<TokenId> answer(40, 200);
  const auto second = joined(joined(prompt(1, 300), answer), prompt(2, 80));
  int found = 0;
  with_every_call_failing({ErrorCode::overloaded, ErrorCode::corrupt}, 300, [&](FailingFiles& files, int) {
    fs::remove_all(folder_);
    for (int process = 0; process < 2; ++process) {
      start(files);
      found += run(prompt(1, 300), answer).cached;
      (void)keeper_->flush(SteadyClock::now() + 10s);
      while (keeper_->has_work()) keeper_->work(50ms);
      if (const auto unread = keeper_->unread()) {
        step(unread->slot, unread->tokens, true);
        keeper_->reread_done(unread->slot);
      }
      found += run(second, answer).cached;
      (void)keeper_->flush(SteadyClock::now() + 10s);
    }
    keeper_.reset();
  });
  EXPECT_GT(found, 50 * 600) << "most failures cost nothing";
}

}  // namespace
}  // namespace pensieve
