// One HTTP request and its reply, as a handler sees them. The transport behind
// it (sockets, timeouts, chunks) is http/server.cpp's.
//
//   Owns     the request. The reply is written through it, once: either reply(),
//            or begin_stream(), write()..., end_stream().
//   Threads  the I/O thread.
//   Errors   a write returns false once the client is gone or has taken nothing
//            for the write timeout; nothing more reaches it then.
#pragma once

#include <boost/asio/awaitable.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace pensieve::http {

using Header = std::pair<std::string, std::string>;

struct Request {
  std::string method;
  std::string path;   // Without the query string.
  std::string query;
  std::vector<Header> headers;  // Names in lower case.
  std::string body;
  std::string id;               // req_...; also in the reply's request-id header.
  TimePoint read_at{};          // When its last byte was here.

  std::string_view header(std::string_view lower_case_name) const;  // Empty when absent.
};

struct Reply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<Header> headers;
  std::string body;
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const Request& request() const = 0;
  virtual void drop_body() {}  // It was read and is not needed any more.
  virtual boost::asio::awaitable<bool> reply(Reply reply) = 0;
  virtual boost::asio::awaitable<bool> begin_stream(std::string content_type, std::vector<Header> headers) = 0;
  virtual boost::asio::awaitable<bool> write(std::string_view bytes) = 0;
  virtual boost::asio::awaitable<bool> end_stream() = 0;
  // Goes out with whatever answers this request.
  virtual void add_header(std::string name, std::string value) = 0;
  virtual bool client_gone() const = 0;
  // Called at most once, when the client is seen to leave. Empty: call nothing.
  virtual void on_gone(std::function<void()> callback) = 0;
};

}  // namespace pensieve::http
