// For tests: a PDF of a few pages, a line of text on each (ASCII without brackets or
// backslashes), written by hand.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

namespace pensieve {

inline std::string small_pdf(const std::vector<std::string>& pages) {
  std::vector<std::string> objects = {"<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"};
  std::string kids;
  for (const std::string& text : pages) {
    kids += fmt::format("{} 0 R ", objects.size() + 1);
    objects.push_back(fmt::format("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R /Resources << /Font << /F1 3 0 R >> >> >>", objects.size() + 2));
    const std::string drawn = text.empty() ? "" : fmt::format("BT /F1 24 Tf 72 700 Td ({}) Tj ET", text);
    objects.push_back(fmt::format("<< /Length {} >>\nstream\n{}\nendstream", drawn.size(), drawn));
  }
  objects[1] = fmt::format("<< /Type /Pages /Kids [{}] /Count {} >>", kids, pages.size());
  std::string pdf = "%PDF-1.4\n";
  std::string table = fmt::format("xref\n0 {}\n0000000000 65535 f \n", objects.size() + 1);
  for (std::size_t i = 0; i < objects.size(); ++i) {
    table += fmt::format("{:010} 00000 n \n", pdf.size());
    pdf += fmt::format("{} 0 obj\n{}\nendobj\n", i + 1, objects[i]);
  }
  return pdf + table + fmt::format("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{}\n%%EOF\n", objects.size() + 1, pdf.size());
}

}  // namespace pensieve
