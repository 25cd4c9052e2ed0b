// The pages of a PDF as pictures, by poppler's pdftoppm, as a child within the same
// bounds as pdf_text.h: for models that see.
//
//   Threads  any.
//   Blocks   until they are drawn, at most `wall_max`.
//   Errors   as pdf_text(): half a sentence about "this PDF".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct PdfPictureOptions {
  std::string program;           // Empty: pdftoppm is looked for on PATH, each time.
  std::size_t pages_max = 20;    // The first so many.
  int side_max = 1024;           // Pixels of the longer side: what models take a page in.
  std::size_t bytes_max = 16 << 20;  // Of all of them.
  std::uint64_t data_bytes_max = 64 << 20;
  std::chrono::milliseconds wall_max{20000};
};

// PNG files, a page each.
Result<std::vector<std::string>> pdf_pictures(std::string_view pdf, const PdfPictureOptions& options);

// Several PNG files one after another, apart. Empty: that is not what they are. Pure.
std::vector<std::string> split_pngs(std::string_view bytes);

}  // namespace pensieve
