// Where tokens stand by libllama's counting. Everything above the engine counts by index: a
// token's place among the tokens of its sequence, which is its cell in the KV cache, too.
// What rotates keys and queries, and what libllama cuts sequences by, is the position:
// the same number, until there is a picture of a model whose pictures take positions of
// several dimensions (M-RoPE: Qwen-VL). All rows of such a picture stand at one position,
// told apart by row and column, and what follows goes on behind its longer side:
//
//      index     0 1 2 | 3 4 5 6 7 8 | 9 10      a picture of 3 by 2
//      position  0 1 2 | 3 3 3 3 3 3 | 6 7
//
//   Owns     the pictures that each sequence holds, where they take fewer positions than rows.
//   Threads  the engine thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/request.h"

namespace pensieve {

class LlamaPositions {
 public:
  struct Picture {
    std::int32_t begin = 0;  // Index of its first row.
    std::int32_t rows = 0;
    std::int32_t positions = 0;
  };

  explicit LlamaPositions(std::int32_t sequences) : pictures_(static_cast<std::size_t>(sequences)) {}

  // Of a token, or of the first row of a picture.
  std::int32_t at(SequenceId sequence, std::int32_t index) const {
    std::int32_t position = index;
    for (const Picture& picture : of(sequence)) {
      if (picture.begin < index) position -= picture.rows - picture.positions;
    }
    return position;
  }
  // Behind a sequence whose last position is `last` (-1: it is empty).
  std::int32_t end(SequenceId sequence, std::int32_t last) const {
    if (of(sequence).empty()) return last + 1;
    const Picture& picture = of(sequence).back();
    const std::int32_t begin = at(sequence, picture.begin);
    const std::int32_t behind = picture.begin + picture.rows;
    return last <= begin ? behind : behind + last + 1 - (begin + picture.positions);
  }
  void saw(SequenceId sequence, const Picture& picture) {
    if (picture.rows != picture.positions) of(sequence).push_back(picture);
  }
  // Drops what lies from `index` on, and a picture that it lies in. Says from which index it must be cut.
  std::int32_t cut(SequenceId sequence, std::int32_t index) {
    for (const Picture& picture : of(sequence)) {
      if (picture.begin < index && index < picture.begin + picture.rows) index = picture.begin;
    }
    std::erase_if(of(sequence), [index](const Picture& picture) { return picture.begin >= index; });
    return index;
  }

 private:
  std::vector<Picture>& of(SequenceId sequence) { return pictures_[static_cast<std::size_t>(sequence)]; }
  const std::vector<Picture>& of(SequenceId sequence) const { return pictures_[static_cast<std::size_t>(sequence)]; }

  std::vector<std::vector<Picture>> pictures_;  // In order.
};

}  // namespace pensieve
