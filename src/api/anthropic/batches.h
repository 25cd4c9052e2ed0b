// /v1/messages/batches: requests that run when nobody is waiting. A batch is kept in
// the store; its requests run one at a time, each as if a client had sent it, and
// only while the line is empty and a slot is free (with one slot: while nothing runs).
//
//   Owns     the store, opened when first needed: a server without batches makes no file.
//   Threads  the I/O thread.
//   Errors   a request that fails is an `errored` result of its own; what is only
//            temporary (a full line, a worker that restarts) is tried again. After a
//            restart of the server the rest runs; a request that was running runs again.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "admission/waiting_line.h"
#include "http/exchange.h"
#include "store/batch_store.h"

namespace pensieve::anthropic {

struct BatchOptions {
  std::string path;  // Of the store's file.
  std::size_t requests_max = 10000;
  std::chrono::milliseconds expires_after{std::chrono::hours(24)};
  std::chrono::milliseconds look_every{100};  // For a free slot.
};

class Batches {
 public:
  // Answers one Messages request, whole, through the exchange.
  using RunMessage = std::function<boost::asio::awaitable<void>(http::Exchange&)>;

  Batches(boost::asio::io_context& io, BatchOptions options, WaitingLine& line, RunMessage run_message);
  ~Batches();

  static bool is_path(std::string_view path);
  boost::asio::awaitable<void> handle(http::Exchange& exchange);
  boost::asio::awaitable<void> work();  // For as long as the server lives.

 private:
  class ItemExchange;

  Result<BatchStore*> store();
  Result<http::Reply> answer(const http::Request& request);
  Result<http::Reply> create(const http::Request& request);
  Result<http::Reply> list(const http::Request& request);
  boost::asio::awaitable<void> results(http::Exchange& exchange, std::string id);
  boost::asio::awaitable<bool> run_one();  // False: there was nothing, or no room.
  std::string json_of(const Batch& batch, const http::Request& request) const;

  BatchOptions options_;
  WaitingLine& line_;
  RunMessage run_message_;
  boost::asio::steady_timer wake_;
  std::unique_ptr<BatchStore> store_;
  ItemExchange* running_ = nullptr;
  std::string running_batch_;
  std::int64_t running_position_ = 0;
};

}  // namespace pensieve::anthropic
