#include "http/server.h"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <random>

#include "base/log.h"

namespace pensieve::http {
namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::awaitable;
using tcp = asio::ip::tcp;

std::string_view Request::header(std::string_view lower_case_name) const {
  for (const auto& [name, value] : headers) {
    if (name == lower_case_name) return value;
  }
  return {};
}

namespace {

std::string new_request_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("req_{:016x}{:08x}", random(), random() & 0xFFFFFFFFu);
}

std::string_view reason_of(int status) {
  if (status == 529) return "Overloaded";
  return beast::http::obsolete_reason(static_cast<beast::http::status>(status));
}

Reply preflight() {
  Reply reply;
  reply.status = 204;
  reply.content_type = "text/plain";
  reply.headers = {{"access-control-allow-methods", "GET, POST, HEAD, OPTIONS"}, {"access-control-allow-headers", "*, authorization"}};
  return reply;
}

// Of a body that is refused: read and thrown away, for 2 seconds at most.
constexpr std::size_t kDrainBytesMax = 256u << 20;

bool header_has_line_break(std::string_view text) { return text.find_first_of("\r\n") != std::string_view::npos; }

}  // namespace

class Server::Connection final : public Exchange {
 public:
  Connection(Server& server, tcp::socket socket) : server_(server), stream_(std::move(socket)) {}

  // Reads one request. False: the connection is over (a refusal has been written).
  awaitable<bool> read() {
    request_ = Request{};
    request_.id = new_request_id();
    extra_.clear();
    give_back();
    replied_ = streaming_ = keep_alive_ = false;
    boost::system::error_code error;
    beast::http::request_parser<beast::http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(server_.options_.header_bytes_max));
    parser.body_limit(server_.options_.body_bytes_max);
    stream_.expires_after(server_.options_.header_wait_max);
    co_await beast::http::async_read_header(stream_, buffer_, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return co_await refuse_unread(error);

    const auto& head = parser.get();
    request_.method = std::string(head.method_string());
    const std::string_view target(head.target().data(), head.target().size());
    const std::size_t mark = target.find('?');
    request_.path = target.substr(0, mark);
    if (mark != std::string_view::npos) request_.query = target.substr(mark + 1);
    for (const auto& field : head) {
      std::string name(field.name_string());
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      request_.headers.emplace_back(std::move(name), std::string(field.value()));
    }
    if (!co_await guard()) co_return false;
    if (request_.header("expect") == "100-continue") {
      constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(stream_, asio::buffer(kContinue), asio::redirect_error(asio::use_awaitable, error));
    }
    // All bodies together have a bound as well; what is not known beforehand counts as the largest.
    const auto announced = parser.content_length();
    const std::size_t takes = announced ? static_cast<std::size_t>(*announced) : parser.chunked() ? server_.options_.body_bytes_max : 0;
    if (takes > server_.options_.bodies_bytes_max - server_.bodies_bytes_) {
      Reply full = server_.refuse_(529, "too many request bodies are being read at once", request_.id);
      full.headers.emplace_back("retry-after", "2");
      keep_alive_ = false;
      co_await reply(std::move(full));
      co_await drain();
      co_return false;
    }
    body_taken_ = takes;
    server_.bodies_bytes_ += takes;
    stream_.expires_after(server_.options_.body_wait_max);
    co_await beast::http::async_read(stream_, buffer_, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return co_await refuse_unread(error);
    keep_alive_ = parser.get().keep_alive();
    request_.body = std::move(parser.get().body());
    request_.read_at = SteadyClock::now();
    stream_.expires_never();
    watch();
    co_return true;
  }

  bool keep_alive() const { return keep_alive_ && !gone_ && !server_.stopping_; }
  bool replied() const { return replied_; }

  ~Connection() override { give_back(); }

  void close() {
    give_back();
    stop_watching();
    boost::system::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.close();
  }

  // After a reply: nobody waits for this client's disconnect any more.
  void stop_watching() {
    on_gone_ = nullptr;
    watching_.emit(asio::cancellation_type::all);
  }

  const Request& request() const override { return request_; }
  void drop_body() override {
    std::string().swap(request_.body);
    give_back();
  }

  awaitable<bool> reply(Reply reply) override {
    replied_ = true;
    std::string text = head_of(reply.status, reply.content_type, reply.headers);
    text += fmt::format("content-length: {}\r\n\r\n", reply.body.size());
    if (request_.method != "HEAD") text += reply.body;
    co_return co_await put(text);
  }

  awaitable<bool> begin_stream(std::string content_type, std::vector<Header> headers) override {
    replied_ = streaming_ = true;
    co_return co_await put(head_of(200, content_type, headers) + "transfer-encoding: chunked\r\n\r\n");
  }

  awaitable<bool> write(std::string_view bytes) override {
    if (bytes.empty()) co_return !gone_;
    co_return co_await put(fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes));
  }

  awaitable<bool> end_stream() override {
    streaming_ = false;
    co_return co_await put("0\r\n\r\n");
  }

  void add_header(std::string name, std::string value) override { extra_.emplace_back(std::move(name), std::move(value)); }
  bool client_gone() const override { return gone_; }
  void on_gone(std::function<void()> callback) override { on_gone_ = std::move(callback); }

 private:
  std::string head_of(int status, const std::string& content_type, const std::vector<Header>& headers) const {
    std::string text = fmt::format("HTTP/1.1 {} {}\r\nrequest-id: {}\r\ncontent-type: {}\r\n", status, reason_of(status), request_.id, content_type);
    for (const auto& [name, value] : extra_) text += fmt::format("{}: {}\r\n", name, value);
    for (const auto& [name, value] : headers) {
      if (!header_has_line_break(value)) text += fmt::format("{}: {}\r\n", name, value);
    }
    const std::string_view origin = request_.header("origin");
    if (!origin.empty() && origin_allowed(server_.options_.guard, origin)) {
      text += fmt::format("access-control-allow-origin: {}\r\nvary: origin\r\naccess-control-expose-headers: request-id, retry-after\r\n", origin);
    }
    if (!keep_alive()) text += "connection: close\r\n";
    return text;
  }

  awaitable<bool> put(std::string text) {
    if (gone_) co_return false;
    boost::system::error_code error;
    stream_.expires_after(server_.options_.write_wait_max);
    co_await asio::async_write(stream_, asio::buffer(text), asio::redirect_error(asio::use_awaitable, error));
    stream_.expires_never();
    if (error) leave();
    co_return !error;
  }

  // True: go on. Otherwise the reply has been written.
  awaitable<bool> guard() {
    const GuardOptions& guard = server_.options_.guard;
    const std::string_view origin = request_.header("origin");
    std::string problem;
    if (!host_allowed(guard, request_.header("host"))) {
      problem = fmt::format("Host: '{}' is not a name of this machine; use localhost or 127.0.0.1", request_.header("host"));
    } else if (!origin_allowed(guard, origin)) {
      problem = fmt::format("Origin: '{}' may not use this server; start it with --cors-origin to allow it", origin);
    }
    if (!problem.empty()) {
      co_await reply(server_.refuse_(403, problem, request_.id));
      co_await drain();
      co_return false;
    }
    if (request_.method == "OPTIONS" && !origin.empty()) {
      co_await reply(preflight());
      co_return false;
    }
    co_return true;
  }

  void give_back() { server_.bodies_bytes_ -= std::exchange(body_taken_, 0); }

  // The request could not be read whole; says why where the client can still hear it.
  awaitable<bool> refuse_unread(const boost::system::error_code& cause) {
    using beast::http::error;
    const ServerOptions& options = server_.options_;
    int status = 0;
    std::string message;
    if (cause == error::body_limit) {
      status = 413;
      message = fmt::format("the request body has more than {} bytes (--max-body)", options.body_bytes_max);
    } else if (cause == error::header_limit) {
      status = 431;
      message = fmt::format("the request headers have more than {} bytes", options.header_bytes_max);
    } else if (cause == beast::error::timeout && (buffer_.size() > 0 || !request_.method.empty())) {
      status = 408;
      message = "the request did not arrive in time";
    } else if (cause == error::end_of_stream || cause == beast::error::timeout || cause.category() != beast::http::make_error_code(error::body_limit).category() ||
               cause == error::partial_message) {
      co_return false;  // An idle connection, or the client left.
    } else {
      status = 400;
      message = fmt::format("this is not an HTTP request: {}", cause.message());
    }
    keep_alive_ = false;
    if (cause == beast::error::timeout) co_return false;  // The stream is closed with the time-out.
    co_await reply(server_.refuse_(status, message, request_.id));
    co_await drain();
    co_return false;
  }

  // A client in the middle of sending only reads our refusal if we go on reading for a moment.
  awaitable<void> drain() {
    boost::system::error_code error;
    stream_.socket().shutdown(tcp::socket::shutdown_send, error);
    std::string waste(64 << 10, '\0');
    std::size_t taken = 0;
    stream_.expires_after(std::chrono::seconds(2));
    while (!error && taken < kDrainBytesMax) {
      taken += co_await stream_.async_read_some(asio::buffer(waste), asio::redirect_error(asio::use_awaitable, error));
    }
  }

  // While the handler works nobody reads the socket; readable then means that
  // the client left, or that it pipelines its next request.
  void watch() {
    stream_.socket().async_wait(tcp::socket::wait_read, asio::bind_cancellation_slot(watching_.slot(), [this](const boost::system::error_code& error) {
                                  if (error) return;
                                  char byte = 0;
                                  boost::system::error_code peek_error;
                                  stream_.socket().non_blocking(true, peek_error);
                                  const std::size_t count = stream_.socket().receive(asio::buffer(&byte, 1), tcp::socket::message_peek, peek_error);
                                  if (peek_error == asio::error::would_block) return watch();
                                  if (peek_error || count == 0) leave();
                                }));
  }

  void leave() {
    if (gone_) return;
    gone_ = true;
    if (auto callback = std::exchange(on_gone_, nullptr)) callback();
  }

  Server& server_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  Request request_;
  std::vector<Header> extra_;
  std::size_t body_taken_ = 0;  // Of server_.bodies_bytes_.
  asio::cancellation_signal watching_;
  std::function<void()> on_gone_;
  bool gone_ = false;
  bool keep_alive_ = false;
  bool replied_ = false;
  bool streaming_ = false;
};

Server::Server(asio::io_context& io, ServerOptions options, Handler handler, Refuse refuse)
    : io_(io), options_(std::move(options)), handler_(std::move(handler)), refuse_(std::move(refuse)), acceptor_(io) {}

Result<void> Server::listen() {
  boost::system::error_code error;
  const auto fail = [&](std::string_view what) {
    return Error{ErrorCode::unavailable, fmt::format("--host {} --port {}: {}: {}", options_.host, options_.port, what, error.message())};
  };
  const auto address = asio::ip::make_address(options_.host == "localhost" ? "127.0.0.1" : options_.host, error);
  if (error) return fail("not an IP address");
  const tcp::endpoint endpoint(address, options_.port);
  acceptor_.open(endpoint.protocol(), error);
  if (error) return fail("cannot open a socket");
  acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
  acceptor_.bind(endpoint, error);
  if (error) return fail("cannot listen");
  acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) return fail("cannot listen");
  return {};
}

std::uint16_t Server::port() const { return acceptor_.local_endpoint().port(); }

void Server::start() { asio::co_spawn(io_, accept_loop(), asio::detached); }

void Server::stop_accepting() {
  stopping_ = true;
  boost::system::error_code ignored;
  acceptor_.close(ignored);
}

awaitable<void> Server::accept_loop() {
  while (acceptor_.is_open()) {
    boost::system::error_code error;
    tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted || error == asio::error::bad_descriptor) co_return;
    if (error || connections_ >= options_.connections_max) {
      if (error) log::warn("accept: {}", error.message());
      asio::steady_timer pause(io_, std::chrono::milliseconds(20));  // Out of descriptors: give others time to close.
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    asio::co_spawn(io_, serve(std::move(socket)), asio::detached);
  }
}

awaitable<void> Server::serve(tcp::socket socket) {
  ++connections_;
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  socket.set_option(asio::socket_base::send_buffer_size(options_.send_buffer_bytes), ignored);
  Connection connection(*this, std::move(socket));
  while (co_await connection.read()) {
    ++busy_;
    std::string problem;
    try {
      co_await handler_(connection);
    } catch (const std::exception& thrown) {  // A library's; nothing of ours throws.
      problem = thrown.what();
    }
    if (!problem.empty()) log::error("a handler threw: {}", problem);
    if (!connection.replied()) co_await connection.reply(refuse_(500, "the server failed to answer this request", connection.request().id));
    connection.stop_watching();
    --busy_;
    if (!problem.empty() || !connection.keep_alive()) break;
    // The cancelled watch must have run before the next one begins.
    co_await asio::post(io_, asio::use_awaitable);
  }
  connection.close();
  co_await asio::post(io_, asio::use_awaitable);  // The same, before the connection is destroyed.
  --connections_;
}

}  // namespace pensieve::http
