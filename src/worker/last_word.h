// How a worker ends that cannot go on: with a word on the wire and a line in the
// log, made without allocating. The server tells both to whoever asks and starts
// another worker.
//
//   Threads  any of them may be the one that fails.
//   Owns     nothing; the process has one wire, whose port must stay.
#pragma once

#include <string_view>

#include "worker/wire_port.h"

namespace pensieve {

inline constexpr std::string_view kOutOfMemory = "the model process could not allocate memory within its cap";

// From now on a failed allocation, a thread that cannot be made, an exception that nobody
// catches, an exit() by a library and an abort() end the process with a word. Before there is a
// port it goes to stdout.
void end_with_last_words();
void speak_last_words_on(WirePort& port);
void no_last_words();  // What follows is the end that was meant.

[[noreturn]] void end_with(std::string_view why);  // For those who see the end coming themselves.

}  // namespace pensieve
