// What a document became that a request brought: its text, and its pages as pictures
// where the model sees.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace pensieve {

struct Document {
  std::string text;
  std::vector<std::string> pictures = {};  // The files' bytes, in order.

  std::size_t bytes() const {
    std::size_t all = text.size();
    for (const std::string& picture : pictures) all += picture.size();
    return all;
  }
  bool operator==(const Document&) const = default;
};

}  // namespace pensieve
