#include "documents/sources.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/utf8.h"

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

Result<std::string> read_pdf(const std::string& pdf, const SourceOptions& options) { return pdf_text(pdf, options.pdf); }

Result<std::string> read_url(const std::string& url, const SourceOptions& options) {
  const auto fetched = fetch_remote(url, options.remote);
  if (!fetched) return fetched.error();
  const std::string& type = fetched->media_type;
  if (type == "application/pdf" || fetched->bytes.starts_with("%PDF-")) return pdf_text(fetched->bytes, options.pdf);
  if (!type.starts_with("text/") && type != "application/json") {
    return Error{ErrorCode::invalid_argument, fmt::format("this URL names a '{}'; PDFs and text are read", utf8_sanitise(type.substr(0, 60)))};
  }
  if (fetched->bytes.size() > options.pdf.text_bytes_max) return Error{ErrorCode::invalid_argument, fmt::format("the text at this URL has more than {} bytes", options.pdf.text_bytes_max)};
  return utf8_sanitise(fetched->bytes);
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

awaitable<Result<std::string>> Sources::text_of_pdf(std::string pdf) {
  std::string digest = digest_of(pdf);
  return read(std::move(digest), std::move(pdf), read_pdf);
}

// For a conversation it stays what stood there when it was read: another text would be another prompt.
awaitable<Result<std::string>> Sources::text_at(std::string url) {
  std::string digest = digest_of("url " + url);
  return read(std::move(digest), std::move(url), read_url);
}

awaitable<Result<std::string>> Sources::read(std::string digest, std::string what, Reader with) {
  if (const std::string* text = remembered(digest)) {
    Result<std::string> again = *text;
    co_return again;
  }
  if (waiting_ >= options_.waiting_max) {
    Result<std::string> full = Error{ErrorCode::overloaded, fmt::format("{} documents wait to be read already", waiting_)};
    co_return full;
  }
  if (!memory_) {
    auto reserved = ledger_.reserve(options_.pdf.data_bytes_max);
    if (!reserved) {
      Result<std::string> none = reserved.error();
      co_return none;
    }
    memory_.emplace(*std::move(reserved));
  }
  const Turn turn(*this);
  const auto made = std::make_shared<std::optional<Result<std::string>>>();
  auto work = [made, with, what = std::move(what), options = options_]() -> awaitable<void> {
    made->emplace(with(what, options));
    co_return;
  };
  co_await asio::co_spawn(thread_, std::move(work), asio::use_awaitable);
  if (**made) remember(std::move(digest), ***made);
  co_return std::move(**made);
}

const std::string* Sources::remembered(std::string_view digest) {
  const auto found = std::ranges::find(remembered_, digest, &Remembered::digest);
  if (found == remembered_.end()) return nullptr;
  remembered_.splice(remembered_.begin(), remembered_, found);
  return &found->text;
}

void Sources::remember(std::string digest, const std::string& text) {
  if (remembered(digest) != nullptr) return;  // Two asked at once.
  remembered_bytes_ += text.size();
  remembered_.push_front({std::move(digest), text});
  while (remembered_bytes_ > options_.remembered_bytes_max && !remembered_.empty()) {
    remembered_bytes_ -= remembered_.back().text.size();
    remembered_.pop_back();
  }
}

}  // namespace pensieve
