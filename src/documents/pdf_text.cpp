#include "documents/pdf_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/utf8.h"
#include "documents/bounded_run.h"

namespace pensieve {
namespace {

constexpr std::size_t kHeadSearched = 1024;  // As readers do: a PDF may begin with a little of something else.

Error bad(std::string why) { return {ErrorCode::invalid_argument, std::move(why)}; }

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhite = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kWhite);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin, text.find_last_not_of(kWhite) - begin + 1);
}

// pdftotext ends each page with a form feed.
std::vector<std::string_view> pages_of(std::string_view text) {
  std::vector<std::string_view> pages;
  for (std::size_t end; (end = text.find('\f')) != std::string_view::npos; text.remove_prefix(end + 1)) pages.push_back(trimmed(text.substr(0, end)));
  if (!trimmed(text).empty()) pages.push_back(trimmed(text));
  return pages;
}

Error why_it_failed(const RunOutcome& outcome, const PdfOptions& options) {
  if (outcome.out_of_time) return bad(fmt::format("this PDF was not read within {} s", options.wall_max.count() / 1000));
  if (outcome.too_much) return bad(fmt::format("the text of this PDF has more than {} bytes", options.text_bytes_max));
  if (outcome.err.find("ncorrect password") != std::string::npos) return bad("this PDF is locked with a password");
  const bool memory = outcome.err.find("emory") != std::string::npos || outcome.err.find("bad_alloc") != std::string::npos;
  if (memory) return {ErrorCode::unavailable, fmt::format("this PDF needs more than {} MB of memory to be read", options.data_bytes_max >> 20)};
  const std::string complaint = utf8_sanitise(outcome.err.substr(0, std::min(outcome.err.find('\n'), std::size_t{120})));
  return bad(fmt::format("this PDF could not be read: pdftotext ended with {}{}{}", outcome.ended, complaint.empty() ? "" : ", ", complaint));
}

}  // namespace

Result<std::string> pdf_text(std::string_view pdf, const PdfOptions& options) {
  if (pdf.substr(0, kHeadSearched).find("%PDF-") == std::string_view::npos) return bad("this is not a PDF");
  const std::string program = options.program.empty() ? find_on_path("pdftotext") : options.program;
  if (program.empty()) {
    return Error{ErrorCode::unavailable, "this PDF cannot be read: pdftotext is not installed on the server's machine (Debian, Ubuntu: apt install poppler-utils; macOS: brew install poppler)"};
  }
  BoundedRun run;
  // A page more than may be, to see that there is one.
  run.argv = {program, "-enc", "UTF-8", "-l", std::to_string(options.pages_max + 1), "-", "-"};
  run.limits = {options.data_bytes_max, static_cast<std::uint64_t>(options.wall_max.count() / 1000 + 1), true};
  run.wall_max = options.wall_max;
  run.output_bytes_max = options.text_bytes_max;
  const auto outcome = run_bounded(run, pdf);
  if (!outcome) return outcome.error();
  if (outcome->ended != "exit code 0") return why_it_failed(*outcome, options);
  const std::string text = utf8_sanitise(outcome->out);
  const auto pages = pages_of(text);
  if (pages.size() > options.pages_max) return bad(fmt::format("this PDF has more than {} pages", options.pages_max));
  const bool empty = std::ranges::all_of(pages, [](std::string_view page) { return page.empty(); });
  if (empty && options.may_be_empty) return std::string();
  if (empty) return bad("this PDF has no text, only pictures of pages, and this model cannot see");
  if (pages.size() == 1) return std::string(pages.front());
  std::string all;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    all += fmt::format("{}[page {}]\n{}", i == 0 ? "" : "\n\n", i + 1, pages[i].empty() ? "(no text)" : pages[i]);
  }
  return all;
}

}  // namespace pensieve
