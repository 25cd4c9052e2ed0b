// Places in the line: how many are kept for those who were told to come back, and when the next one will come to
// somebody who is told so now. What waits, how fast it goes and who was promised what come together here.
//
//   Threads  the I/O thread. Pure but for what it is given: time comes in as an argument.
#pragma once

#include <cstddef>
#include <functional>

#include "admission/forecast.h"
#include "admission/promises.h"
#include "admission/waiting_line.h"

namespace pensieve {

// As whom somebody comes to the line: WaitingLine::try_enter()'s arguments.
struct Standing {
  std::size_t reserved = 0;  // Places that are for those who were told to come about now.
  bool promised = false;     // It is one of them, or was told to come at least.
};
// `key` is asked for where anything was promised. What it was promised is redeemed.
Standing standing_of(const std::function<BodyKey()>& key, const WaitingLine& line, const Forecast& forecast,
                     Promises& promises, TimePoint now);
// Seconds, 1 to 60: whoever was sent away with `key` comes back then, and is promised a place if one can be foreseen.
int retry_after(const WaitingLine& line, const Forecast& forecast, Promises& promises, BodyKey key, TimePoint now);

}  // namespace pensieve
