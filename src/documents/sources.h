// Everything that a request brings or names and that takes time to become text, and
// pictures for a model that sees: PDFs, WebP images, and documents and images by URL. One at a time, on a thread of its own, so that the I/O thread
// waits for none of it; what was read lately is remembered, because agents send the
// same document again with every turn.
//
//   Owns     its thread, the texts it remembers (4 MiB at most).
//   Threads  the I/O thread.
//   Memory   what reading one takes (PdfOptions::data_bytes_max) is reserved from the ledger while
//            any waits; the bytes given to it are the caller's to account for.
//   Errors   invalid_argument: a half sentence about the document; overloaded: too many
//            wait already, or there is no memory for it now; too_large: there could never be.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <list>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "budget/ledger.h"
#include "core/document.h"
#include "documents/pdf_pictures.h"
#include "documents/pdf_text.h"
#include "documents/remote_document.h"

namespace pensieve {

struct SourceOptions {
  bool urls = false;  // Fetch what is named by URL.
  PdfOptions pdf;
  PdfPictureOptions pictures;
  RemoteOptions remote;
  std::size_t waiting_max = 8;
  std::size_t remembered_bytes_max = 4 << 20;
};

class Sources {
 public:
  Sources(SourceOptions options, Ledger& ledger) : options_(std::move(options)), ledger_(ledger) {}

  bool urls() const { return options_.urls; }
  // `pictures`: the model sees. `held`: bytes that the same request has reserved already.
  boost::asio::awaitable<Result<Document>> read_pdf(std::string pdf, bool pictures, std::uint64_t held = 0);
  boost::asio::awaitable<Result<Document>> read_at(std::string url, bool pictures, std::uint64_t held = 0);
  boost::asio::awaitable<Result<Document>> read_webp(std::string webp, std::uint64_t held = 0);  // Becomes a PNG.
  boost::asio::awaitable<Result<Document>> read_image_at(std::string url, std::uint64_t held = 0);

 private:
  struct Remembered {
    std::string digest;
    Document document;
  };
  using Reader = Result<Document> (*)(const std::string& what, const SourceOptions& options, bool pictures);
  struct Turn;  // One that waits or is read.
  boost::asio::awaitable<Result<Document>> read(std::string digest, std::string what, Reader with, bool pictures, std::uint64_t held);
  const Document* remembered(std::string_view digest);
  void remember(std::string digest, const Document& document);

  SourceOptions options_;
  Ledger& ledger_;
  boost::asio::thread_pool thread_{1};
  std::size_t waiting_ = 0;
  std::optional<Ledger::Reservation> memory_;  // While somebody waits.
  std::list<Remembered> remembered_;  // The last used first.
  std::size_t remembered_bytes_ = 0;
};

}  // namespace pensieve
