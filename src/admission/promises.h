// Who was told to come back, and when: the line has room for them then. Without it a
// client that obeys its retry-after meets a line that others have filled meanwhile, and is
// sent away again.
//
//   Owns     the promises: at most kPromisesMax, each until kGrace after it was due.
//   Threads  one. Pure: time comes in as an argument.
//
// Not everybody comes. How many do is counted, and so many places are kept. A request is
// known by its content: clients send the same bytes again.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string_view>

#include "base/clock.h"

namespace pensieve {

enum class BodyKey : std::uint64_t {};
BodyKey key_of_body(std::string_view body);

class Promises {
 public:
  static constexpr std::size_t kPromisesMax = 1024;
  static constexpr std::chrono::milliseconds kGrace{5000};
  static constexpr std::chrono::milliseconds kEarly{500};  // Clocks and roundings differ.

  // Not `sure`: it was told to come, but no place can be foreseen for it, and none is kept.
  void make(BodyKey key, TimePoint due, TimePoint now, bool sure = true);
  // True once for each promise whose time has come.
  bool redeem(BodyKey key, TimePoint now);
  // Of those that are sure: how many will come, or should have come a moment ago, until `until`; promised, and to be
  // expected.
  std::size_t due_until(TimePoint until, TimePoint now);
  std::size_t expected_until(TimePoint until, TimePoint now);
  bool any_open(TimePoint now);

 private:
  struct Promise {
    BodyKey key{};
    TimePoint due{};
    bool sure = true;
  };
  void forget_old(TimePoint now);
  std::deque<Promise> promises_;
  double kept_share_ = 1;  // Of those told to come, that came: a moving average. Places are promised by it, as airlines do.
};

}  // namespace pensieve
