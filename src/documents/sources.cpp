#include "documents/sources.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/log.h"
#include "base/utf8.h"
#include "core/webp.h"
#include "documents/webp_picture.h"

namespace pensieve {
namespace asio = boost::asio;
using asio::awaitable;

namespace {

// Cryptographic: who finds two documents of one digest would have the one read as the other.
std::string digest_of(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

Result<Document> document_of_pdf(const std::string& pdf, const SourceOptions& options, bool pictures) {
  PdfOptions for_text = options.pdf;
  for_text.may_be_empty = pictures;
  auto text = pdf_text(pdf, for_text);
  if (!text) return std::move(text).error();
  Document document{*std::move(text)};
  if (!pictures) return document;
  auto drawn = pdf_pictures(pdf, options.pictures);
  if (!drawn) {
    if (document.text.empty()) return std::move(drawn).error();  // Neither.
    log::info("a PDF is shown by its text alone: {}", drawn.error().message);
    return document;
  }
  document.pictures = *std::move(drawn);
  if (document.text.empty() && document.pictures.size() == options.pictures.pages_max) document.text = fmt::format("[the first {} pages, as pictures]", options.pictures.pages_max);
  return document;
}

Result<Document> document_at(const std::string& url, const SourceOptions& options, bool pictures) {
  const auto fetched = fetch_remote(url, options.remote);
  if (!fetched) return fetched.error();
  const std::string& type = fetched->media_type;
  if (type == "application/pdf" || fetched->bytes.starts_with("%PDF-")) return document_of_pdf(fetched->bytes, options, pictures);
  if (!type.starts_with("text/") && type != "application/json") {
    return Error{ErrorCode::invalid_argument, fmt::format("this URL names a '{}'; PDFs and text are read", utf8_sanitise(type.substr(0, 60)))};
  }
  if (fetched->bytes.size() > options.pdf.text_bytes_max) return Error{ErrorCode::invalid_argument, fmt::format("the text at this URL has more than {} bytes", options.pdf.text_bytes_max)};
  return Document{utf8_sanitise(fetched->bytes)};
}

Result<Document> document_of_webp(const std::string& webp, const SourceOptions& options, bool) {
  auto png = png_of_webp(webp, {.program = {}, .bytes_max = options.pictures.bytes_max, .data_bytes_max = options.pictures.data_bytes_max});
  if (!png) return std::move(png).error();
  Document document;
  document.pictures.push_back(*std::move(png));
  return document;
}

// Whether it is what its server says is the model's to see.
Result<Document> image_at(const std::string& url, const SourceOptions& options, bool) {
  auto fetched = fetch_remote(url, options.remote);
  if (!fetched) return fetched.error();
  constexpr std::array kTypes = {"image/png", "image/jpeg", "image/gif", "image/webp", "application/octet-stream", ""};
  if (std::ranges::find(kTypes, fetched->media_type) == kTypes.end()) {
    return Error{ErrorCode::invalid_argument, fmt::format("this URL names a '{}'; PNG, JPEG, GIF and WebP are read", utf8_sanitise(fetched->media_type.substr(0, 60)))};
  }
  if (fetched->bytes.empty()) return Error{ErrorCode::invalid_argument, "this URL names nothing"};
  if (is_webp(fetched->bytes)) return document_of_webp(fetched->bytes, options, true);
  Document document;
  document.pictures.push_back(std::move(fetched->bytes));
  return document;
}

}  // namespace

struct Sources::Turn {
  explicit Turn(Sources& of) : sources(of) { ++sources.waiting_; }
  ~Turn() {
    if (--sources.waiting_ == 0) sources.memory_.reset();
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  Sources& sources;
};

awaitable<Result<Document>> Sources::read_pdf(std::string pdf, bool pictures, std::uint64_t held) {
  std::string digest = digest_of(pdf) + (pictures ? "+" : "");
  return read(std::move(digest), std::move(pdf), document_of_pdf, pictures, held);
}

// For a conversation it stays what stood there when it was read: another text would be another prompt.
awaitable<Result<Document>> Sources::read_at(std::string url, bool pictures, std::uint64_t held) {
  std::string digest = digest_of("url " + url) + (pictures ? "+" : "");
  return read(std::move(digest), std::move(url), document_at, pictures, held);
}

awaitable<Result<Document>> Sources::read_webp(std::string webp, std::uint64_t held) {
  std::string digest = digest_of(webp);
  return read(std::move(digest), std::move(webp), document_of_webp, true, held);
}

awaitable<Result<Document>> Sources::read_image_at(std::string url, std::uint64_t held) {
  std::string digest = digest_of("image " + url);
  return read(std::move(digest), std::move(url), image_at, true, held);
}

awaitable<Result<Document>> Sources::read(std::string digest, std::string what, Reader with, bool pictures, std::uint64_t held) {
  if (const Document* document = remembered(digest)) {
    Result<Document> again = *document;
    co_return again;
  }
  if (waiting_ >= options_.waiting_max) {
    Result<Document> full = Error{ErrorCode::overloaded, fmt::format("{} documents wait to be read already", waiting_)};
    co_return full;
  }
  if (!memory_) {
    // One child after the other, the second beside what it drew.
    auto reserved = ledger_.reserve(std::max(options_.pdf.data_bytes_max, pictures ? options_.pictures.data_bytes_max + options_.pictures.bytes_max : 0), held);
    if (!reserved) {
      Result<Document> none = reserved.error();
      co_return none;
    }
    memory_.emplace(*std::move(reserved));
  }
  const Turn turn(*this);
  const auto made = std::make_shared<std::optional<Result<Document>>>();
  auto work = [made, with, pictures, what = std::move(what), options = options_]() -> awaitable<void> {
    made->emplace(with(what, options, pictures));
    co_return;
  };
  co_await asio::co_spawn(thread_, std::move(work), asio::use_awaitable);
  if (**made) remember(std::move(digest), ***made);
  co_return std::move(**made);
}

const Document* Sources::remembered(std::string_view digest) {
  const auto found = std::ranges::find(remembered_, digest, &Remembered::digest);
  if (found == remembered_.end()) return nullptr;
  remembered_.splice(remembered_.begin(), remembered_, found);
  return &found->document;
}

void Sources::remember(std::string digest, const Document& document) {
  if (remembered(digest) != nullptr) return;  // Two asked at once.
  remembered_bytes_ += document.bytes();
  remembered_.push_front({std::move(digest), document});
  while (remembered_bytes_ > options_.remembered_bytes_max && !remembered_.empty()) {
    remembered_bytes_ -= remembered_.back().document.bytes();
    remembered_.pop_back();
  }
}

}  // namespace pensieve
