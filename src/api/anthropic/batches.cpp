#include "api/anthropic/batches.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "api/anthropic/errors.h"
#include "base/json_nesting.h"
#include "base/log.h"
#include "base/utf8.h"

namespace pensieve::anthropic {
namespace asio = boost::asio;
using asio::awaitable;
using Json = nlohmann::ordered_json;

namespace {

constexpr std::string_view kRoot = "/v1/messages/batches";
constexpr std::size_t kCustomIdMax = 64;
constexpr std::size_t kPageMax = 1000;
constexpr std::size_t kResultLines = 50;  // Read and written at a time.
constexpr int kDepthMax = 80;
constexpr const char* kStates[] = {"processing", "succeeded", "errored", "canceled", "expired"};

std::int64_t now_ms() { return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::string time_text(std::int64_t ms) {
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", parts, ms % 1000);
}
Json maybe_time(const std::optional<std::int64_t>& ms) { return ms ? Json(time_text(*ms)) : Json(); }

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string new_batch_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("msgbatch_{:016x}{:08x}", random(), random() & 0xFFFFFFFFu);
}

Error wrong(std::string_view field, std::string_view expected) { return {ErrorCode::invalid_argument, fmt::format("{}: {}", field, expected)}; }

http::Reply json_reply(std::string body) {
  http::Reply reply;
  reply.body = std::move(body);
  return reply;
}

std::string query_value(const std::string& query, std::string_view name) {
  for (std::size_t from = 0; from < query.size();) {
    const std::size_t end = std::min(query.find('&', from), query.size());
    const std::string_view pair = std::string_view(query).substr(from, end - from);
    if (pair.starts_with(name) && pair.size() > name.size() && pair[name.size()] == '=') return std::string(pair.substr(name.size() + 1));
    from = end + 1;
  }
  return {};
}

// Not to be blamed on the request: it runs again.
bool is_temporary(int status) { return status == 503 || status == 529 || status == 429; }

}  // namespace

// Stands for the client of one request of a batch.
class Batches::ItemExchange final : public http::Exchange {
 public:
  explicit ItemExchange(http::Request request) : request_(std::move(request)) {}

  const http::Request& request() const override { return request_; }
  awaitable<bool> reply(http::Reply reply) override {
    reply_ = std::move(reply);
    co_return true;
  }
  awaitable<bool> begin_stream(std::string, std::vector<http::Header>) override { co_return false; }
  awaitable<bool> write(std::string_view) override { co_return false; }
  awaitable<bool> end_stream() override { co_return false; }
  void add_header(std::string, std::string) override {}  // A result has no headers.
  bool client_gone() const override { return gone_; }
  void on_gone(std::function<void()> callback) override { callback_ = std::move(callback); }

  void cancel() {
    gone_ = true;
    if (const auto callback = std::exchange(callback_, nullptr)) callback();
  }
  void over() { callback_ = nullptr; }  // What it would call is gone.
  const http::Reply& said() const { return reply_; }

 private:
  http::Request request_;
  http::Reply reply_;
  std::function<void()> callback_;
  bool gone_ = false;
};

Batches::Batches(asio::io_context& io, BatchOptions options, WaitingLine& line, RunMessage run_message)
    : options_(std::move(options)), line_(line), run_message_(std::move(run_message)), wake_(io) {
  wake_.expires_at(std::chrono::steady_clock::time_point::max());
}
Batches::~Batches() = default;

bool Batches::is_path(std::string_view path) { return path == kRoot || path.starts_with("/v1/messages/batches/"); }

Result<BatchStore*> Batches::store() {
  if (!store_) {
    auto opened = BatchStore::open(options_.path);
    if (!opened) return std::move(opened).error();
    store_ = *std::move(opened);
  }
  return store_.get();
}

std::string Batches::json_of(const Batch& batch, const http::Request& request) const {
  Json counts = Json::object();
  for (std::size_t i = 0; i < std::size(kStates); ++i) counts[kStates[i]] = batch.counts[i];
  const std::string_view host = request.header("host");
  const char* status = batch.ended_ms ? "ended" : batch.cancel_ms ? "canceling" : "in_progress";
  return dump({{"id", batch.id},
               {"type", "message_batch"},
               {"processing_status", status},
               {"request_counts", counts},
               {"ended_at", maybe_time(batch.ended_ms)},
               {"created_at", time_text(batch.created_ms)},
               {"expires_at", time_text(batch.expires_ms)},
               {"archived_at", nullptr},
               {"cancel_initiated_at", maybe_time(batch.cancel_ms)},
               {"results_url", batch.ended_ms ? Json(fmt::format("http://{}{}/{}/results", host, kRoot, batch.id)) : Json()}});
}

awaitable<void> Batches::handle(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  std::string_view rest = std::string_view(request.path).substr(kRoot.size());
  if (request.method == "GET" && rest.ends_with("/results")) {
    rest.remove_suffix(8);
    if (!rest.empty()) rest.remove_prefix(1);
    co_return co_await results(exchange, std::string(rest));
  }
  auto answered = answer(request);
  http::Reply reply = answered ? *std::move(answered) : error_reply(answered.error(), request.id);
  co_await exchange.reply(std::move(reply));
}

Result<http::Reply> Batches::answer(const http::Request& request) {
  std::string rest = request.path.substr(kRoot.size());
  const bool get = request.method == "GET" || request.method == "HEAD";
  if (rest.empty() || rest == "/") {
    if (request.method == "POST") return create(request);
    if (get) return list(request);
    return error_reply(405, fmt::format("{} {} is not possible; use POST or GET", request.method, request.path), request.id);
  }
  rest.erase(0, 1);
  const bool cancelling = rest.ends_with("/cancel");
  if (cancelling) rest.resize(rest.size() - 7);
  if (rest.empty() || rest.find('/') != std::string::npos) return error_reply(404, fmt::format("there is no endpoint {}", request.path), request.id);
  if (cancelling ? request.method != "POST" : !get && request.method != "DELETE") {
    return error_reply(405, fmt::format("{} {} is not possible; use {}", request.method, request.path, cancelling ? "POST" : "GET or DELETE"), request.id);
  }
  const auto opened = store();
  if (!opened) return opened.error();
  BatchStore& kept = **opened;
  if (cancelling) {
    const bool runs = running_ != nullptr && running_batch_ == rest;
    if (Result<void> done = kept.cancel(rest, runs ? std::optional(running_position_) : std::nullopt, now_ms()); !done) return std::move(done).error();
    if (runs) running_->cancel();
  } else if (!get) {
    if (Result<void> done = kept.remove(rest); !done) return std::move(done).error();
    return json_reply(dump({{"id", rest}, {"type", "message_batch_deleted"}}));
  }
  const auto batch = kept.get(rest);
  if (!batch) return batch.error();
  return json_reply(json_of(*batch, request));
}

Result<http::Reply> Batches::create(const http::Request& request) {
  if (const std::string_view type = request.header("content-type"); !type.empty() && !type.starts_with("application/json")) {
    return error_reply(415, fmt::format("content-type: '{}' is not application/json", type), request.id);
  }
  if (!utf8_valid(request.body)) return Error{ErrorCode::invalid_argument, "the request body is not valid UTF-8"};
  const Json body = json_nesting(request.body) > kDepthMax ? Json(Json::value_t::discarded) : Json::parse(request.body, nullptr, false);
  if (!body.is_object()) return Error{ErrorCode::invalid_argument, "the request body must be a JSON object, not nested too deeply"};
  const auto requests = body.find("requests");
  if (requests == body.end() || !requests->is_array() || requests->empty()) return wrong("requests", "must be a non-empty array");
  if (requests->size() > options_.requests_max) return wrong("requests", fmt::format("has {} entries; at most {} are kept in one batch", requests->size(), options_.requests_max));
  std::vector<BatchItem> items;
  std::set<std::string> ids;
  for (std::size_t i = 0; i < requests->size(); ++i) {
    const Json& entry = (*requests)[i];
    const std::string at = fmt::format("requests.{}", i);
    if (!entry.is_object()) return wrong(at, "must be an object");
    const auto id = entry.find("custom_id");
    const auto params = entry.find("params");
    const bool is_id = id != entry.end() && id->is_string() && !id->get_ref<const std::string&>().empty() && id->get_ref<const std::string&>().size() <= kCustomIdMax;
    if (!is_id) return wrong(at + ".custom_id", fmt::format("must be a string of 1 to {} bytes", kCustomIdMax));
    if (!ids.insert(id->get<std::string>()).second) return wrong(at + ".custom_id", fmt::format("'{}' stands twice", id->get<std::string>()));
    if (params == entry.end() || !params->is_object()) return wrong(at + ".params", "must be an object, the body of a Messages request");
    Json kept = *params;
    kept.erase("stream");  // There is nobody to stream to.
    items.push_back({id->get<std::string>(), dump(kept)});
  }
  const auto opened = store();
  if (!opened) return opened.error();
  const std::string id = new_batch_id();
  const std::int64_t now = now_ms();
  if (Result<void> made = (*opened)->create(id, items, now, now + options_.expires_after.count()); !made) return std::move(made).error();
  wake_.cancel();
  const auto batch = (*opened)->get(id);
  if (!batch) return batch.error();
  return json_reply(json_of(*batch, request));
}

Result<http::Reply> Batches::list(const http::Request& request) {
  std::size_t limit = 20;
  if (const std::string text = query_value(request.query, "limit"); !text.empty()) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (error != std::errc() || end != text.data() + text.size() || limit < 1 || limit > kPageMax) return wrong("limit", fmt::format("must be an integer from 1 to {}", kPageMax));
  }
  const auto opened = store();
  if (!opened) return opened.error();
  const auto page = (*opened)->list(limit, query_value(request.query, "after_id"), query_value(request.query, "before_id"));
  if (!page) return page.error();
  Json data = Json::array();
  for (const Batch& batch : page->batches) data.push_back(Json::parse(json_of(batch, request)));
  const bool none = page->batches.empty();
  return json_reply(dump({{"data", data}, {"has_more", page->has_more}, {"first_id", none ? Json() : Json(page->batches.front().id)}, {"last_id", none ? Json() : Json(page->batches.back().id)}}));
}

// Streamed from the store: never the whole in memory.
awaitable<void> Batches::results(http::Exchange& exchange, std::string id) {
  const auto opened = store();
  auto batch = opened ? (*opened)->get(id) : Result<Batch>(opened.error());
  if (batch && !batch->ended_ms) batch = Error{ErrorCode::not_found, fmt::format("the batch '{}' has not ended: there are no results yet", id)};
  if (!batch) {
    http::Reply reply = error_reply(batch.error(), exchange.request().id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  std::vector<http::Header> headers;
  bool open = co_await exchange.begin_stream("application/x-jsonl", std::move(headers));
  for (std::int64_t position = 0; open;) {
    // Removed meanwhile: the lines end.
    const auto lines = store_->results(id, position, kResultLines);
    if (!lines || lines->empty()) break;
    std::string text;
    for (const BatchStore::Line& line : *lines) {
      Json result = line.result.empty() ? Json{{"type", kStates[static_cast<std::size_t>(line.state)]}} : Json::parse(line.result, nullptr, false);
      text += dump({{"custom_id", line.custom_id}, {"result", std::move(result)}}) + "\n";
    }
    position += static_cast<std::int64_t>(lines->size());
    open = co_await exchange.write(text);
  }
  co_await exchange.end_stream();
}

awaitable<void> Batches::work() {
  std::error_code ignored;
  if (std::filesystem::exists(options_.path, ignored)) {  // Left by an earlier run.
    if (const auto opened = store(); !opened) log::warn("{}", opened.error().message);
  }
  while (true) {
    const bool ran = co_await run_one();
    if (ran) continue;
    bool waits = false;
    if (store_) {
      const auto next = store_->next();
      waits = next && next->has_value();
    }
    // With nothing to do it sleeps until a batch is created.
    if (waits) wake_.expires_after(options_.look_every);
    else wake_.expires_at(std::chrono::steady_clock::time_point::max());
    boost::system::error_code interrupted;
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, interrupted));
  }
}

awaitable<bool> Batches::run_one() {
  if (!store_) co_return false;
  // Whatever keeps a batch from running, its time goes by.
  if (const Result<void> done = store_->expire(now_ms()); !done) log::warn("{}", done.error().message);
  // People come first: nobody waits, and one slot stays free for the next of them.
  const std::size_t spare = line_.slots() > 1 ? 1 : 0;
  if (line_.waiting() > 0 || line_.running() + spare >= line_.slots()) co_return false;
  const auto next = store_->next();
  if (!next || !next->has_value()) co_return false;
  const PendingItem item = **next;

  http::Request request;
  request.method = "POST";
  request.path = "/v1/messages";
  request.headers.emplace_back("content-type", "application/json");
  request.body = item.item.params;
  request.id = fmt::format("req_{}_{}", item.batch_id.substr(std::min<std::size_t>(9, item.batch_id.size())), item.position);
  request.read_at = SteadyClock::now();
  ItemExchange exchange(std::move(request));
  running_ = &exchange;
  running_batch_ = item.batch_id;
  running_position_ = item.position;
  co_await run_message_(exchange);
  exchange.over();
  running_ = nullptr;

  const http::Reply& said = exchange.said();
  ItemState state = ItemState::succeeded;
  Json result;
  if (exchange.client_gone()) {
    state = ItemState::canceled;
  } else if (said.status == 200) {
    result = {{"type", "succeeded"}, {"message", Json::parse(said.body, nullptr, false)}};
  } else if (is_temporary(said.status)) {
    co_return false;  // It stays pending.
  } else {
    state = ItemState::errored;
    result = {{"type", "errored"}, {"error", Json::parse(said.body, nullptr, false)}};
  }
  if (const Result<void> done = store_->finish(item.batch_id, item.position, state, result.is_null() ? "" : dump(result), now_ms()); !done) {
    log::warn("{}", done.error().message);
    co_return false;
  }
  co_return true;
}

}  // namespace pensieve::anthropic
