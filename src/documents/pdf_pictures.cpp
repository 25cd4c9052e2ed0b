#include "documents/pdf_pictures.h"

#include <fmt/format.h>

#include "base/utf8.h"
#include "documents/bounded_run.h"

namespace pensieve {
namespace {

constexpr std::string_view kSignature = "\x89PNG\r\n\x1A\n";

Error bad(std::string why) { return {ErrorCode::invalid_argument, std::move(why)}; }

}  // namespace

std::vector<std::string> split_pngs(std::string_view bytes) {
  std::vector<std::string> files;
  while (!bytes.empty()) {
    if (!bytes.starts_with(kSignature)) return {};
    // Chunks: length u32 big-endian, name, data, checksum. The one named IEND is the last.
    for (std::size_t at = kSignature.size();;) {
      if (bytes.size() - at < 12) return {};
      std::uint32_t length = 0;
      for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(bytes[at + i]);
      if (length > bytes.size() - at - 12) return {};
      const bool last = bytes.substr(at + 4, 4) == "IEND";
      at += 12 + std::size_t{length};
      if (!last) continue;
      files.emplace_back(bytes.substr(0, at));
      bytes.remove_prefix(at);
      break;
    }
  }
  return files;
}

Result<std::vector<std::string>> pdf_pictures(std::string_view pdf, const PdfPictureOptions& options) {
  const std::string program = options.program.empty() ? find_on_path("pdftoppm") : options.program;
  if (program.empty()) return Error{ErrorCode::unavailable, "the pages of this PDF cannot be drawn: pdftoppm is not installed on the server's machine (package poppler-utils)"};
  BoundedRun run;
  // Without a name for files it writes to its output, page after page.
  run.argv = {program, "-png", "-l", std::to_string(options.pages_max), "-scale-to", std::to_string(options.side_max), "-"};
  run.limits = {options.data_bytes_max, static_cast<std::uint64_t>(options.wall_max.count() / 1000 + 1), true};
  run.wall_max = options.wall_max;
  run.output_bytes_max = options.bytes_max;
  const auto outcome = run_bounded(run, pdf);
  if (!outcome) return outcome.error();
  if (outcome->out_of_time) return bad(fmt::format("the pages of this PDF were not drawn within {} s", options.wall_max.count() / 1000));
  if (outcome->too_much) return bad(fmt::format("the pictures of this PDF's pages have more than {} bytes", options.bytes_max));
  std::vector<std::string> pages = split_pngs(outcome->out);
  if (outcome->ended != "exit code 0" || pages.empty()) {
    return bad(fmt::format("the pages of this PDF could not be drawn: pdftoppm ended with {}, {}", outcome->ended, utf8_sanitise(outcome->err.substr(0, 120))));
  }
  return pages;
}

}  // namespace pensieve
