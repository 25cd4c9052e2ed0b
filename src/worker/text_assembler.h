// Turns sampled pieces of bytes into text that may be shown: whole UTF-8
// characters, and nothing that is, or may still become, part of a stop sequence.
//
//   Owns     the bytes held back; never more than the longest stop sequence and
//            one character.
//   Threads  the engine thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pensieve {

class TextAssembler {
 public:
  explicit TextAssembler(std::vector<std::string> stop_sequences) : stops_(std::move(stop_sequences)) {}

  // Adds a token's bytes; returns what may be shown now. After a stop sequence
  // was completed, stopped_by() names it and nothing more is returned.
  std::string push(std::string_view piece);

  // The turn ended: what was held back and turned out to be no stop sequence.
  std::string flush();

  const std::string& stopped_by() const { return stopped_by_; }  // Empty: none yet.

 private:
  std::vector<std::string> stops_;
  std::string held_;
  std::string stopped_by_;
};

}  // namespace pensieve
