// The text of a PDF, page by page, by poppler's pdftotext as a child process: what
// reads PDFs has a long list of holes, and none of them is to be this server's
// (docs/decisions/0010-documents.md).
//
//   Threads  any.
//   Blocks   until it is read, at most `wall_max`.
//   Errors   invalid_argument, as a half sentence about "this PDF": not a PDF, locked,
//            without text, too many pages, too long; unavailable: pdftotext is not
//            installed, or ended for want of memory.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace pensieve {

struct PdfOptions {
  std::string program;  // Empty: pdftotext is looked for on PATH, each time.
  std::size_t pages_max = 100;  // As the API has it for contexts of 200,000 tokens.
  std::size_t text_bytes_max = 2 << 20;
  bool may_be_empty = false;                // A PDF of pictures only is fine: its text is "".
  std::uint64_t data_bytes_max = 64 << 20;  // The child's memory.
  std::chrono::milliseconds wall_max{20000};
};

// One page: its text. More: each under a line "[page N]".
Result<std::string> pdf_text(std::string_view pdf, const PdfOptions& options);

}  // namespace pensieve
