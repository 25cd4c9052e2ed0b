#include "documents/remote_document.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>

#include "base/check.h"
#include "base/utf8.h"
#include "base/version.h"

namespace pensieve {
namespace {

constexpr long kRedirectsMax = 3;
constexpr long kConnectMs = 5000;

Error bad(std::string why) { return {ErrorCode::invalid_argument, std::move(why)}; }

struct Fetch {
  const RemoteOptions& options;
  RemoteDocument document;
  bool refused = false;
  bool too_large = false;
};

curl_socket_t open_socket(void* user, curlsocktype, curl_sockaddr* address) {
  auto& fetch = *static_cast<Fetch*>(user);
  if (!fetch.options.allowed(&address->addr)) {
    fetch.refused = true;
    return CURL_SOCKET_BAD;
  }
  const int fd = ::socket(address->family, address->socktype, address->protocol);
  if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return fd;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  auto& fetch = *static_cast<Fetch*>(user);
  if (fetch.document.bytes.size() + size * count > fetch.options.bytes_max) {
    fetch.too_large = true;
    return 0;
  }
  fetch.document.bytes.append(data, size * count);
  return size * count;
}

std::string media_type_of(const char* header) {
  std::string type = header == nullptr ? "" : header;
  type.resize(std::min(type.find(';'), type.size()));
  std::erase_if(type, [](unsigned char c) { return std::isspace(c) != 0; });
  std::ranges::transform(type, type.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return type;
}

Result<void> check_url(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return bad("this is not a URL");
  const auto part = [&](CURLUPart which) -> std::string {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), which, &text, 0) != CURLUE_OK) return {};
    std::string copy = text;
    curl_free(text);
    return copy;
  };
  const std::string scheme = part(CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return bad("only http and https URLs are fetched");
  if (!part(CURLUPART_USER).empty() || !part(CURLUPART_PASSWORD).empty()) return bad("URLs with a user's name in them are not fetched");
  return {};
}

}  // namespace

Result<RemoteDocument> fetch_remote(const std::string& url, const RemoteOptions& options) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(started == CURLE_OK, "libcurl starts");
  if (Result<void> good = check_url(url); !good) return std::move(good).error();
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(), curl_easy_cleanup);
  CHECK(easy != nullptr, "a transfer needs some bytes of memory");
  Fetch fetch{options, {}, false, false};
  std::array<char, CURL_ERROR_SIZE> error_text{};
  const auto set = [&](CURLoption option, auto value) { CHECK(curl_easy_setopt(easy.get(), option, value) == CURLE_OK, "libcurl knows its options"); };
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, kRedirectsMax);
  set(CURLOPT_PROXY, "");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(options.wall_max.count()));
  set(CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(options.bytes_max));
  set(CURLOPT_USERAGENT, (std::string("pensieve/") + kVersion).c_str());
  set(CURLOPT_ERRORBUFFER, error_text.data());
  set(CURLOPT_OPENSOCKETFUNCTION, open_socket);
  set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&fetch));
  set(CURLOPT_WRITEFUNCTION, on_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&fetch));
  const CURLcode done = curl_easy_perform(easy.get());
  if (done != CURLE_OK && fetch.refused) return bad("this URL leads to an address that is not public, and is not fetched");
  if (fetch.too_large || done == CURLE_FILESIZE_EXCEEDED) return bad(fmt::format("what this URL names has more than {} bytes", options.bytes_max));
  if (done != CURLE_OK) return bad(fmt::format("this URL could not be fetched: {}", utf8_sanitise(error_text[0] == '\0' ? curl_easy_strerror(done) : error_text.data())));
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) return bad(fmt::format("this URL could not be fetched: its server answered {}", status));
  char* type = nullptr;
  curl_easy_getinfo(easy.get(), CURLINFO_CONTENT_TYPE, &type);
  fetch.document.media_type = media_type_of(type);
  return std::move(fetch.document);
}

}  // namespace pensieve
