// Listens, reads requests within their limits, hands each to the handler, writes
// replies. Has never heard of a model.
//
//   Owns     the listening socket and every connection.
//   Threads  the I/O thread; one coroutine a connection.
//   Errors   what breaks a limit is answered by `refuse` (which knows the shape of
//            an error body) and the connection closed.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "http/exchange.h"
#include "http/guard.h"

namespace pensieve::http {

struct ServerOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 7777;                  // 0: any free one.
  std::size_t body_bytes_max = 32u << 20;
  std::size_t bodies_bytes_max = 64u << 20;   // Of all requests that are being read or answered; at least body_bytes_max.
  std::size_t header_bytes_max = 64u << 10;
  std::size_t connections_max = 1024;
  std::chrono::seconds header_wait_max{30};   // Also how long an idle connection is kept.
  std::chrono::seconds body_wait_max{60};
  std::chrono::seconds write_wait_max{60};    // A client that takes nothing for so long is given up.
  int send_buffer_bytes = 64 << 10;           // Small, so that a slow reader is felt early.
  GuardOptions guard;
};

using Handler = std::function<boost::asio::awaitable<void>(Exchange&)>;
// The reply to a request that never reaches the handler.
using Refuse = std::function<Reply(int status, const std::string& message, const std::string& request_id)>;

class Server {
 public:
  Server(boost::asio::io_context& io, ServerOptions options, Handler handler, Refuse refuse);

  Result<void> listen();
  std::uint16_t port() const;
  void start();
  void stop_accepting();
  std::size_t busy() const { return busy_; }  // Requests being answered now.

 private:
  class Connection;
  boost::asio::awaitable<void> accept_loop();
  boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket);

  boost::asio::io_context& io_;
  ServerOptions options_;
  Handler handler_;
  Refuse refuse_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::size_t connections_ = 0;
  std::size_t busy_ = 0;
  std::size_t bodies_bytes_ = 0;
  bool stopping_ = false;
};

}  // namespace pensieve::http
