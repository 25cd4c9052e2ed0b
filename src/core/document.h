// What a document became that a request brought: its text, and its pages as pictures
// where the model sees.
#pragma once

#include <string>
#include <vector>

namespace pensieve {

struct Document {
  std::string text;
  std::vector<std::string> pictures = {};  // The files' bytes, in order.

  bool operator==(const Document&) const = default;
};

}  // namespace pensieve
