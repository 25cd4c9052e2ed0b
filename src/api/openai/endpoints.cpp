// The endpoints for OpenAI clients: each reads its body into Asked and goes the
// same way as a Messages request from there on.
#include <fmt/format.h>

#include <chrono>
#include <random>

#include "api/api.h"
#include "api/openai/embedding_writer.h"
#include "api/openai/embeddings_request.h"
#include "api/openai/errors.h"
#include "api/openai/request.h"
#include "api/openai/writers.h"

namespace pensieve {
namespace {

std::string new_id() {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return fmt::format("{:016x}{:08x}", random(), random() & 0xFFFFFFFFu);
}

struct Endpoint {
  Result<openai::Request> (*parse)(std::string_view body, bool sees);
  std::unique_ptr<AnswerWriter> (*writer)(const std::string& id, std::int64_t created_s, const openai::Request& request);
};

Endpoint endpoint_of(std::string_view path) {
  if (path == "/v1/chat/completions") return {openai::parse_chat, openai::chat_writer};
  if (path == "/v1/completions") return {openai::parse_completion, openai::completion_writer};
  return {openai::parse_response, openai::response_writer};
}

}  // namespace

bool Api::is_openai(std::string_view path) {
  return path == "/v1/chat/completions" || path == "/v1/completions" || path == "/v1/responses" || path == "/v1/embeddings";
}

boost::asio::awaitable<void> Api::openai(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  if (request.path == "/v1/embeddings") co_return co_await embeddings(exchange);
  const Endpoint endpoint = endpoint_of(request.path);
  auto asked = endpoint.parse(request.body, may_see());
  if (!asked) {
    metrics_.requests("invalid").Increment();
    http::Reply reply = openai::dialect().refusal(asked.error(), request.id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  auto writer = endpoint.writer(new_id(), now, *asked);
  co_await generate(exchange, openai::dialect(), std::move(asked->asked), std::move(writer));
}

boost::asio::awaitable<void> Api::embeddings(http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  auto asked = openai::parse_embeddings(request.body);
  if (!asked) {
    metrics_.requests("invalid").Increment();
    http::Reply reply = openai::dialect().refusal(asked.error(), request.id);
    co_await exchange.reply(std::move(reply));
    co_return;
  }
  auto writer = openai::embedding_writer(*asked);
  co_await generate(exchange, openai::dialect(), std::move(asked->asked), std::move(writer));
}

}  // namespace pensieve
