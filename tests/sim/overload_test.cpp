// How well the forecast does, and how many of those who obey retry-after are answered, on machines that are formulas
// (overload.h): what is missed here is missed on every machine.
#include "overload.h"

#include <gtest/gtest.h>

#include <fmt/format.h>

#include <cctype>
#include <iostream>

namespace pensieve::sim {
namespace {

struct Case {
  const char* name;
  Machine machine;
  Load load;
  double within = 0.95;  // So many lie within a fifth of the forecast, at each factor.
};

Machine with_noise(double each, double drift) {
  Machine machine;
  machine.noise = each;
  machine.drift = drift;
  return machine;
}

Machine machine(double row_seconds, double step_seconds, double step_row_seconds) {
  Machine made;
  made.row_seconds = row_seconds;
  made.step_seconds = step_seconds;
  made.step_row_seconds = step_row_seconds;
  return made;
}

Load load(int words_max, int answer_min, int answer_max, std::size_t slots = 2, std::size_t queue = 8) {
  Load made;
  made.words_max = words_max;
  made.answer_min = answer_min;
  made.answer_max = answer_max;
  made.slots = slots;
  made.queue = queue;
  return made;
}

Load ends_early(Load load, double max_tokens_factor) {
  load.ends_early = 0.02;
  load.max_tokens_factor = max_tokens_factor;
  return load;
}

// Four runs of at least 120 requests at capacity; the line is filled anew in each.
Seen seen(const Case& what, double factor) {
  Seen all;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    Overload overload(what.machine, what.load.slots, what.load.queue, seed);
    Load closed = what.load;
    closed.per_second = 0;
    closed.seconds = 60;
    overload.run(closed);
    const Seen warm = overload.run(closed);
    Load open = what.load;
    open.per_second = factor * warm.complete / warm.seconds;
    open.seconds = std::max(60.0, 120 / (warm.complete / warm.seconds));
    open.obeying = std::min(1.0, 0.9 / factor);
    const Seen one = overload.run(open);
    all.accepted.insert(all.accepted.end(), one.accepted.begin(), one.accepted.end());
    all.obeyed += one.obeyed;
    all.obeyed_answered += one.obeyed_answered;
  }
  return all;
}

class OverloadTest : public ::testing::TestWithParam<Case> {};

TEST_P(OverloadTest, FirstTokensComeWhenTheyWereForetoldAndThoseWhoObeyAreAnswered) {
  for (const double factor : {0.5, 1.0, 2.0, 10.0}) {
    const Seen all = seen(GetParam(), factor);
    std::cout << fmt::format(
        "{} at {}x: {} accepted, {:.1f} % within 20 %, ratio p5 {:.2f}, p50 {:.2f}, p95 {:.2f}; {} obeyed, {:.1f} % "
        "answered\n",
        GetParam().name, factor, all.accepted.size(), 100 * all.within(), all.ratio(0.05), all.ratio(0.5),
        all.ratio(0.95), all.obeyed, 100 * all.obeyed_share());
    EXPECT_GE(all.within(), GetParam().within) << factor;
    EXPECT_GE(all.obeyed_share(), 0.9) << factor;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Machines, OverloadTest,
    ::testing::Values(Case{"a steady machine", with_noise(0, 0), {}, 0.99}, Case{"a quiet machine", {}, {}, 0.97},
                      Case{"a noisy machine", with_noise(0.1, 0.1), {}, 0.9},
                      Case{"a fast reader", machine(1.0 / 8000, 0.002, 0.0015), {}},
                      Case{"a slow machine", machine(1.0 / 100, 0.05, 0.01), load(150, 16, 48)},
                      Case{"four slots", {}, load(400, 16, 48, 4, 16)}, Case{"long answers", {}, load(400, 100, 600)},
                      Case{"max_tokens beyond all answers", {}, ends_early(load(400, 16, 48), 20)},
                      // How long an answer will be nobody knows.
                      Case{"answers of any length", {}, ends_early(load(400, 16, 400), 1), 0.85}),
    [](const auto& tested) {
      std::string name = tested.param.name;
      std::ranges::replace_if(name, [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
      return name;
    });

}  // namespace
}  // namespace pensieve::sim
