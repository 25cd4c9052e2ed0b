#include "catalogue/transfer.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/check.h"
#include "base/errno_text.h"
#include "base/utf8.h"
#include "base/version.h"
#include "catalogue/digest.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr long kRedirectsMax = 5;
constexpr long kConnectSeconds = 20;
constexpr std::size_t kHeaderBytesMax = 64u << 10;
constexpr std::size_t kErrorBytesMax = 1024;
constexpr std::chrono::milliseconds kWaitMax = 30s;
constexpr std::chrono::seconds kRetryAfterMax = 60s;

struct EasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct MultiDeleter {
  void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
};
struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, EasyDeleter>;
using Multi = std::unique_ptr<CURLM, MultiDeleter>;
using List = std::unique_ptr<curl_slist, ListDeleter>;

void start_curl() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(started == CURLE_OK, "libcurl starts");
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// scheme://host:port of a URL; empty: it is none.
std::string origin_of(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return {};
  std::string origin;
  for (const CURLUPart part : {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT}) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), part, &text, CURLU_DEFAULT_PORT) != CURLUE_OK) return {};
    origin += lower(text) + '|';
    curl_free(text);
  }
  return origin;
}

using Headers = std::map<std::string, std::string>;  // Of the last answer in a chain of redirects; names in lower case.

// One transfer: its handle, what it was told and what came.
struct Request {
  Easy easy{curl_easy_init()};
  List headers;
  std::array<char, CURL_ERROR_SIZE> error_text{};
  Headers received;
  std::size_t header_bytes = 0;
  std::string body;                  // Text, or an error's first words.
  std::size_t body_max = 0;
  std::function<bool(const char*, std::size_t)> sink;  // Takes the body of a success; false: stop.
  bool overflowed = false;

  long status() const {
    long code = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }
  std::string effective_url() const {
    char* url = nullptr;
    curl_easy_getinfo(easy.get(), CURLINFO_EFFECTIVE_URL, &url);
    return url == nullptr ? std::string() : std::string(url);
  }
};

std::size_t on_header(char* data, std::size_t size, std::size_t count, void* user) {
  auto& request = *static_cast<Request*>(user);
  const std::string line(data, size * count);
  if ((request.header_bytes += line.size()) > kHeaderBytesMax) return 0;
  if (line.starts_with("HTTP/")) request.received.clear();
  if (const std::size_t colon = line.find(':'); colon != std::string::npos) {
    const std::size_t begin = std::min(line.find_first_not_of(" \t", colon + 1), line.size());
    const std::size_t end = line.find_last_not_of(" \t\r\n");
    request.received[lower(line.substr(0, colon))] = end == std::string::npos || end < begin ? std::string() : line.substr(begin, end - begin + 1);
  }
  return size * count;
}

std::size_t on_body(char* data, std::size_t size, std::size_t count, void* user) {
  auto& request = *static_cast<Request*>(user);
  const std::size_t bytes = size * count;
  const long status = request.status();
  if (status < 200 || status > 299) {  // An error's page: a little of it is enough.
    request.body.append(data, std::min(bytes, kErrorBytesMax - std::min(kErrorBytesMax, request.body.size())));
    return bytes;
  }
  if (request.sink) return request.sink(data, bytes) ? bytes : 0;
  if (request.body.size() + bytes > request.body_max) {
    request.overflowed = true;
    return 0;
  }
  request.body.append(data, bytes);
  return bytes;
}

void add_header(Request& request, const std::string& line) { request.headers.reset(curl_slist_append(request.headers.release(), line.c_str())); }

std::unique_ptr<Request> make_request(const std::string& url, const TransferOptions& options) {
  start_curl();
  auto request = std::make_unique<Request>();
  CURL* easy = request->easy.get();
  CHECK(easy != nullptr, "a transfer needs some bytes of memory");
  const bool secure = url.starts_with("https:");
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");  // Never from the safe to the open.
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, kRedirectsMax);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options.stall.count()));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, (std::string("pensieve/") + kVersion).c_str());
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text.data());
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, request.get());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, request.get());
  curl_easy_setopt(easy, CURLOPT_PRIVATE, request.get());
  // libcurl drops the header when a redirect leaves the host.
  if (!options.token.empty() && origin_of(url) == origin_of(options.token_host)) add_header(*request, "Authorization: Bearer " + options.token);
  return request;
}

void set_headers(Request& request) { curl_easy_setopt(request.easy.get(), CURLOPT_HTTPHEADER, request.headers.get()); }

std::string reason(CURLcode code, const Request& request) { return request.error_text[0] != '\0' ? request.error_text.data() : curl_easy_strerror(code); }

bool worth_another_try(CURLcode code, long status) {
  if (code != CURLE_OK) return code != CURLE_URL_MALFORMAT && code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_TOO_MANY_REDIRECTS && code != CURLE_PEER_FAILED_VERIFICATION;
  return status == 408 || status == 429 || status >= 500;
}

// URLs of a CDN carry signatures; in a message they stay out.
std::string shown(const std::string& url) { return utf8_sanitise(url.substr(0, url.find('?'))); }

Error failure(CURLcode code, const Request& request, const std::string& url) {
  if (code != CURLE_OK) return {ErrorCode::unavailable, fmt::format("'{}': {}", shown(url), reason(code, request))};
  const long status = request.status();
  const std::string what = fmt::format("'{}' answered {}", shown(url), status);
  if (status == 401) return {ErrorCode::permission_denied, what + ": it does not exist, or it needs a token (HF_TOKEN) that may read it"};
  if (status == 403) return {ErrorCode::permission_denied, what + ": the token (HF_TOKEN) may not read it; a gated model's terms are accepted on its page at the hub"};
  if (status == 404) return {ErrorCode::not_found, what + ": there is nothing of that name"};
  if (status == 429) return {ErrorCode::overloaded, what + ": it wants fewer requests; try again later"};
  return {ErrorCode::unavailable, what};
}

std::chrono::milliseconds wait_before(int tries, const Request& request, const TransferOptions& options) {
  std::chrono::milliseconds wait = std::min(kWaitMax, options.wait_first * (1 << std::min(tries, 10)));
  const auto given = request.received.find("retry-after");
  if (given == request.received.end()) return wait;
  char* end = nullptr;
  const long seconds = std::strtol(given->second.c_str(), &end, 10);
  if (end != given->second.c_str() && seconds >= 0) wait = std::min<std::chrono::milliseconds>(kRetryAfterMax, std::chrono::seconds(std::min(seconds, 3600L)));
  return wait;
}

void pause(std::chrono::milliseconds wait) { ::usleep(static_cast<useconds_t>(std::chrono::microseconds(wait).count())); }

std::optional<std::uint64_t> number_in(const std::string& text) {
  if (text.empty() || text.size() > 18 || !std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; })) return std::nullopt;
  return std::stoull(text);
}

struct ContentRange {
  std::uint64_t begin = 0;
  std::uint64_t total = 0;
};
// "bytes 0-0/1234"
std::optional<ContentRange> content_range(const Headers& headers) {
  const auto found = headers.find("content-range");
  if (found == headers.end() || !found->second.starts_with("bytes ")) return std::nullopt;
  const std::string text = found->second.substr(6);
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string::npos || slash == std::string::npos || dash > slash) return std::nullopt;
  const auto begin = number_in(text.substr(0, dash));
  const auto total = number_in(text.substr(slash + 1));
  if (!begin || !total) return std::nullopt;
  return ContentRange{*begin, *total};
}

struct Facts {  // What a first question told.
  std::uint64_t bytes = 0;
  bool ranges = false;
  std::string etag;
  std::string final_url;
};

Result<Facts> ask(const RemoteFile& file, const TransferOptions& options) {
  for (int tries = 0;; ++tries) {
    auto request = make_request(file.url, options);
    request->sink = [](const char*, std::size_t) { return false; };  // The head is all that is wanted.
    curl_easy_setopt(request->easy.get(), CURLOPT_RANGE, "0-0");
    set_headers(*request);
    CURLcode code = curl_easy_perform(request->easy.get());
    const long status = request->status();
    if (code == CURLE_WRITE_ERROR && status >= 200 && status <= 299) code = CURLE_OK;
    if (code == CURLE_OK && (status == 200 || status == 206 || status == 416)) {
      Facts facts;
      facts.final_url = request->effective_url();
      if (const auto etag = request->received.find("etag"); etag != request->received.end()) facts.etag = etag->second;
      const auto range = content_range(request->received);
      const auto length = request->received.find("content-length");
      if (status == 206 && range) {
        facts.ranges = true;
        facts.bytes = range->total;
      } else if (status == 200 && length != request->received.end() && number_in(length->second)) {
        facts.bytes = *number_in(length->second);
      } else if (status == 416) {
        facts.bytes = 0;  // No byte 0: an empty file.
      } else {
        return Error{ErrorCode::unavailable, fmt::format("'{}' does not say how large it is", shown(file.url))};
      }
      if (file.bytes && *file.bytes != facts.bytes) {
        return Error{ErrorCode::corrupt, fmt::format("'{}' has {} bytes, {} were promised", shown(file.url), facts.bytes, *file.bytes)};
      }
      return facts;
    }
    if (!worth_another_try(code, status) || tries + 1 >= options.tries_max) return failure(code, *request, file.url);
    pause(wait_before(tries, *request, options));
  }
}

std::string state_path(const std::string& path) { return path + ".state"; }

// Which chunks are there. Written after every chunk, so an interruption loses at most those under way.
struct State {
  std::string identity;  // The hash, or else the server's ETag: a file of another identity starts anew.
  std::uint64_t bytes = 0;
  std::uint64_t chunk_bytes = 0;
  std::string done;  // A '1' or '0' for each chunk.

  std::uint64_t chunk_size(std::size_t chunk) const { return std::min(chunk_bytes, bytes - chunk * chunk_bytes); }
  std::uint64_t done_bytes() const {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < done.size(); ++i) sum += done[i] == '1' ? chunk_size(i) : 0;
    return sum;
  }
};

std::optional<State> read_state(const std::string& path) {
  std::error_code error;
  if (fs::file_size(state_path(path), error) > (64u << 20) || error) return std::nullopt;
  std::ifstream in(state_path(path));
  const json value = json::parse(in, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  for (const char* key : {"identity", "done"}) if (!value.contains(key) || !value[key].is_string()) return std::nullopt;
  for (const char* key : {"bytes", "chunk_bytes"}) if (!value.contains(key) || !value[key].is_number_unsigned()) return std::nullopt;
  State state{value["identity"], value["bytes"], value["chunk_bytes"], value["done"]};
  if (state.chunk_bytes == 0 || state.done.size() != (state.bytes + state.chunk_bytes - 1) / state.chunk_bytes) return std::nullopt;
  if (fs::file_size(path, error) != state.bytes || error) return std::nullopt;
  return state;
}

Result<void> write_state(const std::string& path, const State& state) {
  const std::string unfinished = state_path(path) + ".new";
  std::ofstream out(unfinished, std::ios::trunc);
  out << json{{"identity", state.identity}, {"bytes", state.bytes}, {"chunk_bytes", state.chunk_bytes}, {"done", state.done}}.dump();
  out.close();
  std::error_code error;
  if (out) fs::rename(unfinished, state_path(path), error);
  if (!out || error) return Error{ErrorCode::internal, fmt::format("'{}' cannot be written (disk full?)", state_path(path))};
  return {};
}

void forget(const std::string& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
  fs::remove(state_path(path), ignored);
}

struct Descriptor {
  explicit Descriptor(int f) : file(f) {}
  ~Descriptor() {
    if (file >= 0) ::close(file);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  const int file;
};

// One file on its way: up to `connections` chunks at once on one multi handle.
class Loading {
 public:
  Loading(const RemoteFile& file, const TransferOptions& options, const Facts& facts, State& state, int descriptor, const std::string& path,
          const std::function<void(const TransferProgress&)>& on_progress)
      : file_(file), options_(options), facts_(facts), state_(state), descriptor_(descriptor), path_(path), on_progress_(on_progress), multi_(curl_multi_init()) {
    for (std::size_t i = 0; i < state.done.size(); ++i) {
      if (state.done[i] == '0') waiting_.push_back({i, 0, 0, Clock::now()});
    }
    done_bytes_ = state.done_bytes();
  }

  ~Loading() {
    for (const auto& [easy, active] : active_) curl_multi_remove_handle(multi_.get(), easy);
  }
  Loading(const Loading&) = delete;
  Loading& operator=(const Loading&) = delete;

  Result<void> run() {
    const std::size_t connections = facts_.ranges ? static_cast<std::size_t>(std::max(1, options_.connections)) : 1;
    while (!waiting_.empty() || !active_.empty()) {
      start_due(connections);
      int running = 0;
      curl_multi_perform(multi_.get(), &running);
      int left = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        if (const Result<void> ended = end(message->easy_handle, message->data.result); !ended) return ended;
      }
      if (disk_error_ != 0) return Error{ErrorCode::internal, fmt::format("'{}' cannot be written: {}", path_, errno_text(disk_error_))};
      on_progress_({TransferProgress::Phase::loading, done_bytes_, state_.bytes});
      curl_multi_poll(multi_.get(), nullptr, 0, 100, nullptr);
    }
    return {};
  }

 private:
  struct Chunk {
    std::size_t number;
    std::uint64_t have;  // Bytes of it that are written.
    int tries;           // In a row without a byte.
    Clock::time_point not_before;
  };
  struct Active {
    std::unique_ptr<Request> request;
    Chunk chunk;
    std::uint64_t had;  // At the start of this try.
    bool from_origin;
    bool wrong_answer = false;
  };

  void start_due(std::size_t connections) {
    for (std::size_t i = 0; i < waiting_.size() && active_.size() < connections;) {
      if (waiting_[i].not_before > Clock::now()) {
        ++i;
        continue;
      }
      const Chunk chunk = waiting_[i];
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
      start(chunk);
    }
  }

  void start(Chunk chunk) {
    const bool from_origin = final_url_stale_ || facts_.final_url.empty();
    auto active = std::make_unique<Active>();
    if (!facts_.ranges) {  // Cannot be asked for its rest.
      done_bytes_ -= chunk.have;
      chunk.have = 0;
    }
    active->request = make_request(from_origin ? file_.url : facts_.final_url, options_);
    active->chunk = chunk;
    active->had = chunk.have;
    active->from_origin = from_origin;
    const std::uint64_t begin = chunk.number * state_.chunk_bytes;
    if (facts_.ranges) {
      const std::string range = fmt::format("{}-{}", begin + chunk.have, begin + state_.chunk_size(chunk.number) - 1);
      curl_easy_setopt(active->request->easy.get(), CURLOPT_RANGE, range.c_str());
    }
    set_headers(*active->request);
    Active& it = *active;
    active->request->sink = [this, &it](const char* data, std::size_t bytes) { return take(it, data, bytes); };
    CURL* easy = active->request->easy.get();
    curl_multi_add_handle(multi_.get(), easy);
    active_.emplace(easy, std::move(active));
  }

  bool take(Active& active, const char* data, std::size_t bytes) {
    Chunk& chunk = active.chunk;
    const std::uint64_t at = chunk.number * state_.chunk_bytes + chunk.have;
    if (facts_.ranges && chunk.have == active.had) {  // Its first bytes: are they the ones asked for?
      const auto range = content_range(active.request->received);
      active.wrong_answer = active.request->status() != 206 || !range || range->begin != at || range->total != state_.bytes;
    }
    if (active.wrong_answer || bytes > state_.chunk_size(chunk.number) - chunk.have) {
      active.wrong_answer = true;
      return false;
    }
    for (std::size_t written = 0; written < bytes;) {
      const ssize_t count = ::pwrite(descriptor_, data + written, bytes - written, static_cast<off_t>(at + written));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        disk_error_ = count < 0 ? errno : ENOSPC;
        return false;
      }
      written += static_cast<std::size_t>(count);
    }
    chunk.have += bytes;
    done_bytes_ += bytes;
    return true;
  }

  Result<void> end(CURL* easy, CURLcode code) {
    curl_multi_remove_handle(multi_.get(), easy);
    const auto node = active_.extract(easy);
    Active& active = *node.mapped();
    Chunk chunk = active.chunk;
    const long status = active.request->status();
    if (disk_error_ != 0) return {};
    if (active.wrong_answer) {
      forget(path_);
      return Error{ErrorCode::corrupt, fmt::format("'{}' sent other bytes than it was asked for: it changed meanwhile; pull again", shown(file_.url))};
    }
    if (chunk.have == state_.chunk_size(chunk.number)) {
      state_.done[chunk.number] = '1';
      return write_state(path_, state_);
    }
    if (chunk.have > active.had) chunk.tries = 0;
    else ++chunk.tries;
    const bool expired = !active.from_origin && (status == 401 || status == 403 || status == 404 || status == 410);
    if (expired) final_url_stale_ = true;  // A CDN's signed address has its time; the hub makes a new one.
    if (active.from_origin && status == 206) final_url_stale_ = false, facts_.final_url = active.request->effective_url();
    if ((!expired && status != 206 && !worth_another_try(code, status)) || chunk.tries >= options_.tries_max) return failure(code, *active.request, file_.url);
    chunk.not_before = Clock::now() + (expired ? 0ms : wait_before(chunk.tries, *active.request, options_));
    waiting_.push_back(chunk);
    return {};
  }

  const RemoteFile& file_;
  const TransferOptions& options_;
  Facts facts_;
  State& state_;
  const int descriptor_;
  const std::string& path_;
  const std::function<void(const TransferProgress&)>& on_progress_;
  Multi multi_;
  std::vector<Chunk> waiting_;
  std::map<CURL*, std::unique_ptr<Active>> active_;
  std::uint64_t done_bytes_ = 0;
  bool final_url_stale_ = false;
  int disk_error_ = 0;
};

Result<void> check_hash(const RemoteFile& file, const std::string& path, std::uint64_t bytes, const std::function<void(const TransferProgress&)>& on_progress) {
  const bool sha256 = !file.sha256.empty();
  const std::string& promised = sha256 ? file.sha256 : file.git_hash;
  if (promised.empty()) return {};
  const auto found = digest_of_file(path, sha256 ? DigestKind::sha256 : DigestKind::git_blob,
                                    [&](std::uint64_t done) { on_progress({TransferProgress::Phase::checking, done, bytes}); });
  if (!found) return found.error();
  if (*found == promised) return {};
  forget(path);
  return Error{ErrorCode::corrupt, fmt::format("'{}' does not have the hash that was promised (it has {}, not {}); it was thrown away", shown(file.url), *found, promised)};
}

}  // namespace

Result<RemoteText> fetch_text(const std::string& url, const TransferOptions& options, std::size_t bytes_max) {
  for (int tries = 0;; ++tries) {
    auto request = make_request(url, options);
    request->body_max = bytes_max;
    set_headers(*request);
    const CURLcode code = curl_easy_perform(request->easy.get());
    const long status = request->status();
    if (request->overflowed) return Error{ErrorCode::too_large, fmt::format("'{}' sent more than {} bytes", shown(url), bytes_max)};
    if (code == CURLE_OK && status == 200) return RemoteText{std::move(request->body), request->received["link"]};
    if (!worth_another_try(code, status) || tries + 1 >= options.tries_max) return failure(code, *request, url);
    pause(wait_before(tries, *request, options));
  }
}

Result<std::uint64_t> remote_size(const RemoteFile& file, const TransferOptions& options) {
  const auto facts = ask(file, options);
  if (!facts) return facts.error();
  return facts->bytes;
}

std::uint64_t resumed_bytes(const std::string& path) {
  const auto state = read_state(path);
  return state ? state->done_bytes() : 0;
}

Result<void> download(const RemoteFile& file, const std::string& path, const TransferOptions& options,
                      const std::function<void(const TransferProgress&)>& on_progress) {
  const auto facts = ask(file, options);
  if (!facts) return facts.error();
  State state;
  state.identity = !file.sha256.empty() ? file.sha256 : !file.git_hash.empty() ? file.git_hash : facts->etag;
  state.bytes = facts->bytes;
  state.chunk_bytes = facts->ranges ? options.chunk_bytes : std::max<std::uint64_t>(1, facts->bytes);
  state.done.assign((state.bytes + state.chunk_bytes - 1) / state.chunk_bytes, '0');
  // Without a name for its content, half a file may be half of another.
  const auto earlier = read_state(path);
  if (earlier && !state.identity.empty() && earlier->identity == state.identity && earlier->bytes == state.bytes && earlier->chunk_bytes == state.chunk_bytes) {
    state = *earlier;
  } else {
    forget(path);
  }
  {
    const Descriptor out(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (out.file < 0 || ::ftruncate(out.file, static_cast<off_t>(state.bytes)) != 0) {
      return Error{ErrorCode::internal, fmt::format("'{}' cannot be written: {}", path, errno_text())};
    }
    if (const auto written = write_state(path, state); !written) return written;
    Loading loading(file, options, *facts, state, out.file, path, on_progress);
    if (const auto loaded = loading.run(); !loaded) return loaded;
    if (::fsync(out.file) != 0) return Error{ErrorCode::internal, fmt::format("'{}' cannot be written: {}", path, errno_text())};
  }
  if (const auto checked = check_hash(file, path, state.bytes, on_progress); !checked) return checked;
  std::error_code ignored;
  fs::remove(state_path(path), ignored);
  return {};
}

}  // namespace pensieve
