#include "api/api.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <nlohmann/json.hpp>
#include <random>

#include "api/anthropic/errors.h"
#include "api/anthropic/message_writer.h"
#include "api/json_reply.h"
#include "api/openai/errors.h"
#include "base/log.h"
#include "base/version.h"

namespace pensieve {
namespace asio = boost::asio;
using anthropic::error_reply;
using asio::awaitable;
using Json = nlohmann::ordered_json;

namespace {

// What may wait for a slow reader before its own sequence is paused.
constexpr std::size_t kPendingBytesMax = 64 << 10;
constexpr std::size_t kPendingEventsMax = 512;
constexpr std::uint64_t kUncounted = UINT64_MAX;
// What a request holds while it lives, beside its body: its coroutine, its pending text and socket buffers; and a
// token's share of prompt, line to the worker, events and journal.
constexpr std::uint64_t kRequestBytes = 192 << 10;
constexpr std::uint64_t kTokenBytes = 40;
constexpr std::uint64_t kVectorNumberBytes = 36;  // A number of a vector: as it is, and twice as text of the reply.
constexpr std::int32_t kEmbedTokensMax = 300'000;  // In all inputs of a request, as OpenAI has it.
// A value of a parsed body takes some 100 bytes: tiny values in a large body must not multiply it.
constexpr std::size_t kJsonValuesMax = 250'000;
constexpr std::size_t kSourcesMax = 100;  // PDFs and URLs in one request: agents send all of a conversation's again.
constexpr auto kMemoryTick = std::chrono::milliseconds(250);
constexpr const char* kNoMemory = "the machine stayed short of memory while this request waited";

// At least as many as there are values: text inside strings counts, too.
std::size_t json_values(std::string_view body) {
  return static_cast<std::size_t>(std::ranges::count_if(body, [](char c) { return c == ',' || c == '[' || c == '{'; }));
}

std::string new_message_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("msg_{:016x}{:08x}", random(), random() & 0xFFFFFFFFu);
}

constexpr Dialect kAnthropic{[](int status, const std::string& message, const std::string& id) { return error_reply(status, message, id); }, anthropic::status_of};

// g++ 12 miscompiles braced lists and conditional operators inside a co_await expression: replies are made before it.
std::vector<http::Header> stream_headers() { return {{"cache-control", "no-cache"}, {"x-accel-buffering", "no"}}; }
http::Reply hello() { return json_reply({{"name", "pensieve"}, {"version", kVersion}}); }
http::Reply counted_reply(const wire::Counted& counted) { return json_reply({{"input_tokens", counted.input_tokens}}); }

// Takes the same time wherever the first difference is.
bool same_secret(std::string_view given, std::string_view wanted) {
  unsigned difference = given.size() == wanted.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(wanted[i % wanted.size()]));
  }
  return difference == 0;
}

const char* outcome_of(const StreamEvent& event) {
  const auto* finished = std::get_if<Finished>(&event);
  if (finished == nullptr) return "error";
  return finished->reason == FinishReason::cancelled ? "cancelled" : "complete";
}

// Bytes of the answer that an event carries.
std::size_t words_of(const StreamEvent& event) {
  if (const auto* text = std::get_if<Text>(&event)) return text->text.size();
  if (const auto* thinking = std::get_if<Thinking>(&event)) return thinking->text.size();
  if (const auto* input = std::get_if<ToolInput>(&event)) return input->json.size();
  return 0;
}

// When the token behind it was sampled, for events that stand for tokens.
std::optional<std::int64_t> sampled_at(const StreamEvent& event) {
  return std::visit(
      [](const auto& made) -> std::optional<std::int64_t> {
        if constexpr (requires { made.sampled_us; }) return made.sampled_us;
        else return std::nullopt;
      },
      event);
}

bool is_last(const StreamEvent& event) { return std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event); }

}  // namespace

// Where the supervisor drops this request's events and its coroutine picks them up.
struct Api::Run final : EventSink {
  Run(asio::io_context& io, Supervisor& with, Entry entry, const Dialect& spoken, Asked asked, std::unique_ptr<AnswerWriter> by)
      : supervisor(with),
        place(std::move(entry.place)),
        memory(std::move(entry.memory)),
        dialect(spoken),
        request(std::move(asked)),
        id(with.new_id()),
        writer(std::move(by)),
        wake(io) {}
  ~Run() override { supervisor.release(id); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void on_event(StreamEvent event) override {
    if (job) follow(event);
    pending_bytes += words_of(event);
    pending.push_back(std::move(event));
    if (!paused && (pending_bytes > kPendingBytesMax || pending.size() > kPendingEventsMax)) {
      paused = true;
      supervisor.pause(id);
    }
    wake.cancel();
  }

  // What is left of it to read and to say, for the forecasts of those behind it.
  void follow(const StreamEvent& event) {
    const TimePoint now = SteadyClock::now();
    if (const auto* started = std::get_if<Started>(&event)) job->left_to_read(started->input_tokens - started->cached_tokens, now);
    else if (const auto* read = std::get_if<Prefilled>(&event)) job->left_to_read(read->total_tokens - read->done_tokens, now);
    else if (const auto* made = std::get_if<Embedded>(&event)) job->left_to_read(made->total_tokens - made->done_tokens, now);
    else std::visit([this, now](const auto& part) {
      if constexpr (requires { part.tokens; }) job->said(std::ssize(part.tokens), now);
    }, event);
    const auto* finished = std::get_if<Finished>(&event);
    if (finished == nullptr || finished->reason == FinishReason::cancelled || std::holds_alternative<EmbedRequest>(order)) return;  // No answer to learn from.
    job->ended(finished->reason == FinishReason::max_tokens || finished->reason == FinishReason::model_context_window_exceeded);
  }

  // The next event, or nullptr when `wait` went by, or the client left, before one came.
  awaitable<std::unique_ptr<StreamEvent>> next(std::chrono::milliseconds wait, const http::Exchange& exchange) {
    if (pending.empty() && !exchange.client_gone()) {
      boost::system::error_code ignored;
      wake.expires_after(wait);
      co_await wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    }
    if (pending.empty()) co_return nullptr;
    auto event = std::make_unique<StreamEvent>(std::move(pending.front()));
    pending.pop_front();
    pending_bytes -= words_of(*event);
    if (paused && pending.empty()) {
      paused = false;
      supervisor.resume(id);
    }
    co_return event;
  }

  double predicted() const { return seconds(forecast_at - read_at) + forecast->first_in; }  // From read_at to its first token.
  void hand_over() {
    handed_at = SteadyClock::now();
    job->began(handed_at);
    supervisor.accept(std::move(order), *this);
  }

  void leave() {  // The client is gone.
    place.wake();
    wake.cancel();
  }

  ModelRequest order_of(wire::Counted counted, std::int32_t room) const {
    if (!counted.inputs.empty()) return EmbedRequest{id, std::move(counted.inputs)};
    GenerateRequest made;
    made.id = id;
    // The other fields of the prompt say how the answer is to be understood.
    made.prompt = request.prompt;
    made.prompt.messages.clear();
    made.prompt.text.clear();
    made.prompt.tokens = std::move(counted.tokens);
    made.opening = std::move(counted.opening);
    made.origin = std::move(counted.origin);
    made.marks = std::move(counted.marks);
    made.sampling = request.sampling;
    made.max_tokens = std::min(request.max_tokens, room);
    made.stop_sequences = request.stop_sequences;
    made.keep_seconds = request.keep_seconds;
    return made;
  }

  Supervisor& supervisor;
  WaitingLine::Place place;
  Ledger::Reservation memory;
  const Dialect& dialect;
  Asked request;
  RequestId id;
  std::unique_ptr<AnswerWriter> writer;
  asio::steady_timer wake;
  std::deque<StreamEvent> pending;
  std::size_t pending_bytes = 0;
  bool paused = false;
  ModelRequest order;                  // What the worker gets of it.
  std::uint64_t epoch = kUncounted;    // Of the supervisor, when its prompt was counted.
  std::optional<Forecast::Entry> job;  // From its admission on.
  std::optional<Forecast::Parts> forecast;
  TimePoint forecast_at{};
  TimePoint handed_at{};  // To the worker.
  TimePoint last_token_written{};
  TimePoint read_at{};
};

Api::Api(asio::io_context& io, ApiOptions options, Entrance entrance, Supervisor& supervisor, Metrics& metrics)
    : io_(io), options_(std::move(options)), line_(entrance.line), gate_(entrance.gate), ledger_(entrance.ledger), forecast_(entrance.forecast), promises_(entrance.promises), supervisor_(supervisor), metrics_(metrics) {}

awaitable<void> Api::handle(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  const std::string& path = request.path;
  const bool get = request.method == "GET" || request.method == "HEAD";
  const bool post = request.method == "POST";

  // Open to everybody who reaches the port: they tell nothing of prompts.
  if (path == "/" || path == "/api/hello") {
    http::Reply reply = get ? hello() : error_reply(405, request.method + " is not possible here; use GET", request.id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  const bool for_batches = batches_ != nullptr && anthropic::Batches::is_path(path);
  const bool known = path == "/v1/messages" || path == "/v1/messages/count_tokens" || path == "/v1/models" || path.starts_with("/v1/models/") ||
                     for_batches || is_openai(path) || path == "/health" || path == "/metrics";
  if (!known) {
    co_await exchange.reply(error_reply(404, fmt::format("there is no endpoint {}", path), request.id));
    co_return;
  }
  const bool for_openai = is_openai(path);
  const Dialect& dialect = for_openai ? openai::dialect() : kAnthropic;
  const bool wants_post = for_openai || (path.starts_with("/v1/messages") && !for_batches);
  if (!for_batches && (wants_post ? !post : !get)) {
    http::Reply reply = dialect.refuse(405, fmt::format("{} {} is not possible; use {}", request.method, path, wants_post ? "POST" : "GET"), request.id);
    reply.headers.emplace_back("allow", wants_post ? "POST" : "GET, HEAD");
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (path != "/health" && !key_is_right(request)) {
    http::Reply reply = dialect.refuse(401, "the API key is missing or wrong; send it as x-api-key or as Authorization: Bearer", request.id);
    reply.headers.emplace_back("x-should-retry", "false");
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (wants_post) {
    exchange.add_header("x-memory-status", name_of(gate_.level()));
    if (gate_.memory()) exchange.add_header("x-available-memory-gb", fmt::format("{:.2f}", static_cast<double>(gate_.memory()->available_bytes) / 1e9));
    if (json_values(request.body) > kJsonValuesMax) {
      co_await exchange.reply(error_reply(400, fmt::format("the request body has more than {} JSON values", kJsonValuesMax), request.id));
      co_return;
    }
    const std::string_view type = request.header("content-type");
    if (!type.empty() && !type.starts_with("application/json")) {
      co_await exchange.reply(dialect.refuse(415, fmt::format("content-type: '{}' is not application/json", type), request.id));
      co_return;
    }
  }
  if (path == "/v1/messages") co_return co_await messages(exchange);
  if (for_openai) co_return co_await openai(exchange);
  if (for_batches) co_return co_await batches_->handle(exchange);
  if (path == "/v1/messages/count_tokens") co_return co_await count_tokens(exchange);
  http::Reply reply = get_reply(request);
  co_await exchange.reply(std::move(reply));
}

http::Reply Api::get_reply(const http::Request& request) const {
  if (request.path == "/health") return health(request);
  if (request.path == "/metrics") return metrics_text();
  if (request.path == "/v1/models") return models(request);
  return model(request, request.path.substr(std::string_view("/v1/models/").size()));
}

bool Api::key_is_right(const http::Request& request) const {
  if (options_.api_key.empty()) return true;
  if (same_secret(request.header("x-api-key"), options_.api_key)) return true;
  const std::string_view authorization = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  return authorization.starts_with(kBearer) && same_secret(authorization.substr(kBearer.size()), options_.api_key);
}

// Whether a worker that is still loading sees is not known: it refuses by itself then.
bool Api::may_see() const { return !supervisor_.status().ready || supervisor_.status().ready->sees; }

awaitable<Result<Document>> Api::read_source(anthropic::UnreadSource source, bool sees, std::uint64_t held) {
  using Kind = anthropic::UnreadSource::Kind;
  const bool by_url = source.kind == Kind::url || source.kind == Kind::image_url;
  const char* what = source.kind == Kind::image_url ? "images" : "documents";
  std::string why_not;
  if (sources_ == nullptr) why_not = fmt::format("{} are not read here", source.kind == Kind::webp ? "WebP images" : what);
  else if (by_url && !sources_->urls()) why_not = fmt::format("{} are not fetched by URL here (--url-sources on allows it)", what);
  if (!why_not.empty()) {
    Result<Document> refused = Error{ErrorCode::invalid_argument, std::move(why_not)};
    co_return refused;
  }
  if (source.kind == Kind::webp) co_return co_await sources_->read_webp(std::move(source.data), held);
  if (source.kind == Kind::image_url) co_return co_await sources_->read_image_at(std::move(source.data), held);
  if (source.kind == Kind::url) co_return co_await sources_->read_at(std::move(source.data), sees, held);
  co_return co_await sources_->read_pdf(std::move(source.data), sees, held);
}

awaitable<Result<anthropic::MessagesRequest>> Api::read_request(const http::Exchange& exchange, anthropic::Endpoint endpoint) {
  const std::string& body = exchange.request().body;
  const bool sees = may_see();
  auto asked = anthropic::parse_messages_request(body, endpoint, options_.client_rules, {}, sees);
  if (!asked || asked->unread.empty()) co_return std::move(asked);
  const bool draws = supervisor_.status().ready && supervisor_.status().ready->sees;  // Pages are drawn for a model that is known to see.
  auto memory = ledger_.reserve(2 * body.size());  // The documents as bytes, beside the body.
  std::optional<Error> refused;
  if (!memory) refused = memory.error();
  else if (asked->unread.size() > kSourcesMax) refused = Error{ErrorCode::invalid_argument, fmt::format("messages: they bring more than {} documents and URLs that have to be read", kSourcesMax)};
  anthropic::ReadSources sources;
  for (std::size_t i = 0; !refused && i < asked->unread.size() && !exchange.client_gone(); ++i) {
    anthropic::UnreadSource source = std::move(asked->unread[i]);
    std::string at = source.at;
    Result<Document> document = co_await read_source(std::move(source), draws, memory->bytes());
    if (!document && (document.error().code == ErrorCode::overloaded || document.error().code == ErrorCode::too_large)) refused = document.error();
    if (document) {
      // Twice: it is copied into the prompt.
      if (const Result<void> fits = memory->add(2 * document->bytes()); !fits) refused = fits.error();
    }
    sources.emplace(std::move(at), std::move(document));
  }
  if (!refused && exchange.client_gone()) refused = Error{ErrorCode::cancelled, "the client left"};
  if (refused) {
    Result<anthropic::MessagesRequest> no = *std::move(refused);
    co_return no;
  }
  co_return anthropic::parse_messages_request(body, endpoint, options_.client_rules, sources, sees);
}

awaitable<void> Api::messages(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  auto asked = co_await read_request(exchange, anthropic::Endpoint::messages);
  if (!asked) {
    http::Reply reply = refusal(kAnthropic, asked.error(), request.id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (asked->threaded) {
    metrics_.requests("invalid").Increment();
    co_await exchange.reply(anthropic::thread_unsupported_reply(request.id));
    co_return;
  }
  note_normalised(*asked, request.id);
  Asked common{std::move(asked->model), asked->stream, std::move(asked->prompt), asked->sampling, asked->max_tokens, std::move(asked->stop_sequences), asked->keep_seconds};
  std::string message_id = new_message_id();
  anthropic::MessageWriter::Diagnose diagnose;
  if (asked->diagnose) {
    anthropic::PromptMarks marks = anthropic::marks_of(common.prompt, loaded_model());
    diagnose = [this, message_id, previous = std::move(asked->previous_message_id), marks = std::move(marks)](const Started& started) {
      std::optional<anthropic::CacheMiss> miss;
      if (previous) miss = prompts_.compare(*previous, marks, started);
      prompts_.keep(message_id, marks, started.input_tokens);
      return miss;
    };
  }
  auto writer = std::make_unique<anthropic::MessageWriter>(std::move(message_id), common.model, asked->thinking_omitted, std::move(diagnose));
  co_await generate(exchange, kAnthropic, std::move(common), std::move(writer));
}

awaitable<void> Api::generate(http::Exchange& exchange, const Dialect& dialect, Asked asked, std::unique_ptr<AnswerWriter> writer) {
  const http::Request& request = exchange.request();
  auto entry = enter(request);
  if (!entry) {
    const std::optional<BodyKey> key = gate_.accepting() ? std::optional(key_of_body(request.body)) : std::nullopt;
    http::Reply reply = refusal(dialect, entry.error(), request.id, key);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  // Pages that were drawn for the model came with no body.
  std::size_t image_bytes = 0;
  for (const std::string& image : asked.prompt.images) image_bytes += image.size();
  if (image_bytes > request.body.size()) {
    if (Result<void> fits = entry->memory.add(2 * (image_bytes - request.body.size())); !fits) {
      http::Reply reply = refusal(dialect, fits.error(), request.id);
      co_await exchange.reply(std::move(reply));
      co_return;
    }
  }
  exchange.drop_body();
  Run run(io_, supervisor_, *std::move(entry), dialect, std::move(asked), std::move(writer));
  run.read_at = request.read_at;
  exchange.on_gone([&run] { run.leave(); });

  if (run.request.stream && supervisor_.drains()) {
    const auto ready = co_await supervisor_.until_ready(SteadyClock::now(), options_.ping_every);
    if (ready && !*ready && supervisor_.drains()) co_return co_await stream_answer(exchange, run);
  }
  auto counted = co_await supervisor_.count(run.request.prompt, true);
  run.epoch = supervisor_.epoch();
  if (!counted) {
    http::Reply reply = refusal(dialect, counted.error(), request.id);
    if (reply.status == 503 && supervisor_.status().state != WorkerState::failed) reply.headers.emplace_back("retry-after", "5");
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (const Result<void> taken = take_up(run, *std::move(counted)); !taken) {
    http::Reply reply = refusal(dialect, taken.error(), request.id);
    if (taken.error().code == ErrorCode::internal) reply.headers.emplace_back("x-should-retry", "false");
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  run.forecast_at = SteadyClock::now();
  run.forecast = forecast_.first_token(run.forecast_at);
  if (run.forecast) exchange.add_header("x-predicted-ttft", fmt::format("{:.3f}", run.predicted()));
  if (run.request.stream) co_await stream_answer(exchange, run);
  else co_await whole_answer(exchange, run);
}

// What was counted becomes what is to be generated, if there is room for it.
Result<void> Api::take_up(Run& run, wire::Counted counted) {
  const wire::Ready& ready = *supervisor_.status().ready;
  if (!counted.inputs.empty()) return take_up_inputs(run, std::move(counted), ready);
  const std::int32_t room = ready.context_tokens;
  const std::int32_t input_tokens = counted.input_tokens;
  if (input_tokens >= room) return Error{ErrorCode::invalid_argument, fmt::format("prompt is too long: {} tokens > {} maximum", input_tokens, room - 1)};
  const bool anew = run.job.has_value();  // For another model: its room is reserved, it was let in.
  if (!anew) {
    Result<void> fits = gate_.for_prompt(input_tokens, room);
    if (!fits) metrics_.memory_refusals(name_of(gate_.level())).Increment();
    if (fits) fits = run.memory.add(static_cast<std::uint64_t>(input_tokens + std::min(run.request.max_tokens, room - input_tokens)) * kTokenBytes);
    if (!fits) return fits;
  }
  run.order = run.order_of(std::move(counted), room - input_tokens);
  run.request.prompt.images = {};  // Those that go to the worker are enough.
  if (anew) return {};
  if (Result<void> may = supervisor_.may_run(run.order); !may) return may;
  metrics_.prompt_tokens.Increment(input_tokens);
  forecast_.set_pace(supervisor_.status().pace);
  const auto& order = std::get<GenerateRequest>(run.order);
  run.job.emplace(forecast_.enter(order.prompt.tokens, order.max_tokens));
  return {};
}

// The same of inputs that become vectors. That each fits the worker has looked at.
Result<void> Api::take_up_inputs(Run& run, wire::Counted counted, const wire::Ready& ready) {
  if (run.request.dimensions > ready.vector_size) return Error{ErrorCode::invalid_argument, fmt::format("dimensions: this model's vectors have {} numbers", ready.vector_size)};
  const std::int32_t tokens = counted.input_tokens;
  if (tokens > kEmbedTokensMax) return Error{ErrorCode::invalid_argument, fmt::format("input: is too long: {} tokens in all > {} maximum", tokens, kEmbedTokensMax)};
  const bool anew = run.job.has_value();
  if (!anew) {
    std::size_t longest = 0;
    for (const EmbedInput& input : counted.inputs) longest = std::max(longest, input.tokens.size());
    Result<void> fits = gate_.for_prompt(static_cast<std::int64_t>(longest), ready.context_tokens);
    if (!fits) metrics_.memory_refusals(name_of(gate_.level())).Increment();
    const std::size_t numbers = counted.inputs.size() * static_cast<std::size_t>(ready.vector_size);
    if (fits) fits = run.memory.add(static_cast<std::uint64_t>(tokens) * kTokenBytes + numbers * kVectorNumberBytes);
    if (!fits) return fits;
  }
  run.order = run.order_of(std::move(counted), 0);
  if (anew) return {};
  if (Result<void> may = supervisor_.may_run(run.order); !may) return may;
  metrics_.prompt_tokens.Increment(tokens);
  forecast_.set_pace(supervisor_.status().pace);
  run.job.emplace(forecast_.enter(tokens));
  return {};
}

Result<Api::Entry> Api::enter(const http::Request& request) {
  if (const Result<void> may = gate_.at_arrival(); !may) {
    metrics_.memory_refusals(name_of(gate_.level())).Increment();
    return may.error();
  }
  auto memory = ledger_.reserve(kRequestBytes + 2 * request.body.size());
  if (!memory) return std::move(memory).error();
  const TimePoint now = SteadyClock::now();
  forecast_.set_pace(supervisor_.status().pace);
  const Standing standing =
      standing_of([&request] { return key_of_body(request.body); }, line_, forecast_, promises_, now);
  auto place = line_.try_enter(standing.reserved, standing.promised);
  if (!place) return std::move(place).error();
  return Entry{*std::move(place), *std::move(memory)};
}

http::Reply Api::refusal(const Dialect& dialect, const Error& error, const std::string& request_id, std::optional<BodyKey> key) {
  http::Reply reply = dialect.refusal(error, request_id);
  if (error.code != ErrorCode::overloaded) {
    const bool invalid = error.code == ErrorCode::invalid_argument || error.code == ErrorCode::too_large;
    metrics_.requests(invalid ? "invalid" : "error").Increment();
    return reply;
  }
  metrics_.requests("overloaded").Increment();
  ++ended_;
  // Short of memory: it takes at least the levels' own hold to be better.
  int wait = gate_.accepting() ? line_.retry_after_seconds() : std::max(5, line_.retry_after_seconds());
  if (key) wait = retry_after(line_, forecast_, promises_, *key, SteadyClock::now());
  reply.headers.emplace_back("retry-after", std::to_string(wait));
  return reply;
}

// Asked again after waiting. Its 200 may be out already, so it waits a while before it is refused.
awaitable<bool> Api::until_memory(http::Exchange& exchange, Run& run, bool pings) {
  const TimePoint deadline = SteadyClock::now() + options_.memory_wait_max;
  TimePoint ping_at = SteadyClock::now() + options_.ping_every;
  while (!gate_.at_arrival()) {
    if (exchange.client_gone()) co_return true;  // Nobody to refuse.
    if (SteadyClock::now() > deadline) co_return false;
    if (pings && SteadyClock::now() > ping_at) {
      co_await exchange.write(run.writer->ping());
      ping_at = SteadyClock::now() + options_.ping_every;
    }
    boost::system::error_code ignored;
    run.wake.expires_after(kMemoryTick);
    co_await run.wake.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  co_return true;
}

awaitable<Result<void>> Api::until_ready(http::Exchange& exchange, Run& run, bool pings) {
  TimePoint begun = SteadyClock::now();
  while (true) {
    const auto ready = co_await supervisor_.until_ready(begun, options_.ping_every);
    if (!ready) co_return ready.error();
    if (exchange.client_gone()) co_return Error{ErrorCode::cancelled, "the client left"};
    if (!*ready) {
      if (pings) co_await exchange.write(run.writer->ping());
      continue;
    }
    if (run.epoch == supervisor_.epoch()) break;
    if (auto* before = std::get_if<GenerateRequest>(&run.order); run.job && before != nullptr) run.request.prompt.images = std::exchange(before->prompt.images, {});
    auto counted = co_await supervisor_.count(run.request.prompt, true);
    run.epoch = supervisor_.epoch();
    if (!counted) co_return std::move(counted).error();
    if (Result<void> taken = take_up(run, *std::move(counted)); !taken) co_return taken;
    begun = SteadyClock::now();
  }
  co_return Result<void>();
}

// A stream that came while another model was waited for is here before its prompt was counted: it waits with pings, and what
// would have refused it is an error in it.
awaitable<void> Api::stream_answer(http::Exchange& exchange, Run& run) {
  const std::string request_id = exchange.request().id;
  bool open = co_await exchange.begin_stream("text/event-stream; charset=utf-8", stream_headers());
  if (open && run.epoch == kUncounted) open = co_await exchange.write(run.writer->ping());
  while (open && !co_await run.place.until_running(options_.ping_every)) {
    open = !exchange.client_gone() && co_await exchange.write(run.writer->ping());
  }
  if (open && !co_await until_memory(exchange, run, true)) {
    run.on_event(Failed{{ErrorCode::overloaded, kNoMemory}});
  } else if (open && !exchange.client_gone()) {
    // The worker may have died while this waited.
    if (const Result<void> ready = co_await until_ready(exchange, run, true); ready) run.hand_over();
    else run.on_event(Failed{ready.error()});
  }
  TimePoint last_written = SteadyClock::now();
  while (open) {
    const auto event = co_await run.next(options_.ping_every, exchange);
    if (!event) {
      last_written = SteadyClock::now();
      open = !exchange.client_gone() && co_await exchange.write(run.writer->ping());
      continue;
    }
    std::string bytes = run.writer->events_for(*event, request_id);
    // A model that thinks unseen says nothing for long; the client must hear that it lives.
    const TimePoint now = SteadyClock::now();
    if (bytes.empty() && now - last_written > options_.ping_every) bytes = run.writer->ping();
    if (!bytes.empty()) {
      last_written = now;
      open = co_await exchange.write(bytes);
    }
    if (!open) break;
    note_written(run, *event);
    if (!is_last(*event)) continue;
    note_end(*event);
    co_await exchange.end_stream();
    co_return;
  }
  metrics_.requests("cancelled").Increment();
}

awaitable<void> Api::whole_answer(http::Exchange& exchange, Run& run) {
  while (!exchange.client_gone() && !co_await run.place.until_running(options_.ping_every)) {
  }
  if (exchange.client_gone()) {
    metrics_.requests("cancelled").Increment();
    co_return;
  }
  if (!co_await until_memory(exchange, run, false)) {
    metrics_.memory_refusals(name_of(gate_.level())).Increment();
    http::Reply reply = refusal(run.dialect, {ErrorCode::overloaded, kNoMemory}, exchange.request().id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (const Result<void> ready = co_await until_ready(exchange, run, false); ready) run.hand_over();
  else run.on_event(Failed{ready.error()});
  while (!exchange.client_gone()) {
    const auto event = co_await run.next(options_.ping_every, exchange);
    if (!event) continue;
    run.writer->collect(*event);
    if (!is_last(*event)) continue;
    note_end(*event);
    if (const auto* failed = std::get_if<Failed>(event.get())) {
      co_await exchange.reply(run.dialect.refusal(failed->error, exchange.request().id));
    } else {
      http::Reply reply;
      reply.body = run.writer->whole(std::get<Finished>(*event));
      co_await exchange.reply(std::move(reply));
    }
    co_return;
  }
  metrics_.requests("cancelled").Increment();
}

void Api::note_written(Run& run, const StreamEvent& event) {
  const std::optional<std::int64_t> sampled_us = sampled_at(event);
  if (!sampled_us) return;
  const TimePoint now = SteadyClock::now();
  if (run.last_token_written == TimePoint{}) {
    metrics_.time_to_first_token.Observe(seconds(now - run.read_at));
    if (run.forecast) note_forecast(run, now);
  } else metrics_.time_between_tokens.Observe(seconds(now - run.last_token_written));
  run.last_token_written = now;
  metrics_.token_to_socket.Observe(static_cast<double>(monotonic_us(now) - *sampled_us) * 1e-6);
}

// What bench/overload.mjs --parts reads.
void Api::note_forecast(const Run& run, TimePoint now) {
  const double came = seconds(now - run.read_at);
  metrics_.first_token_ratio.Observe(came / run.predicted());
  const Forecast::Parts& parts = *run.forecast;
  const Pace& pace = forecast_.pace();
  log::debug(
      R"(forecast {{"predicted":{:.4f},"came":{:.4f},"counted":{:.4f},"slot_predicted":{:.4f},"slot_came":{:.4f},"first_predicted":{:.4f},"first_came":{:.4f},"own":{},"ahead":{},"to_read":{},"to_say":{},"alone":{:.1f},"beside":{:.1f},"chunk":{},"step_1":{:.5f},"step_2":{:.5f}}})",
      run.predicted(), came, seconds(run.forecast_at - run.read_at), parts.slot_in,
      seconds(run.handed_at - run.forecast_at), parts.first_in - parts.slot_in, seconds(now - run.handed_at), parts.own,
      parts.ahead, parts.to_read, parts.to_say, pace.alone_tokens_per_second, pace.beside_tokens_per_second,
      pace.beside_chunk, pace.step_seconds.empty() ? 0 : pace.step_seconds[0],
      pace.step_seconds.size() < 2 ? 0 : pace.step_seconds[1]);
}

void Api::note_normalised(const anthropic::MessagesRequest& asked, const std::string& id) {
  for (const auto& [what, times] : asked.normalised) {
    metrics_.normalised(what).Increment(times);
    log::debug("{}: {} ({} times)", id, what, times);
  }
}

void Api::note_end(const StreamEvent& event) {
  metrics_.requests(outcome_of(event)).Increment();
  ++ended_;
  if (const auto* finished = std::get_if<Finished>(&event)) metrics_.output_tokens.Increment(finished->usage.output_tokens);
}

awaitable<void> Api::count_tokens(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  auto asked = co_await read_request(exchange, anthropic::Endpoint::count_tokens);
  if (!asked) {
    http::Reply reply = asked.error().code == ErrorCode::overloaded ? refusal(kAnthropic, asked.error(), request.id) : error_reply(asked.error(), request.id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  if (asked->threaded) {
    co_await exchange.reply(anthropic::thread_unsupported_reply(request.id));
    co_return;
  }
  const auto counted = co_await supervisor_.count(std::move(asked->prompt), false);
  http::Reply reply = counted ? counted_reply(*counted) : error_reply(counted.error(), request.id);
  co_await exchange.reply(std::move(reply));
}

}  // namespace pensieve
