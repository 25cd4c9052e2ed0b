#include "client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include <fmt/format.h>
#include <sys/socket.h>

#include <nlohmann/json.hpp>

namespace pensieve {
namespace asio = boost::asio;
namespace beast = boost::beast;
using Json = nlohmann::json;

std::optional<Address> parse_url(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return std::nullopt;
  std::string rest = url.substr(kScheme.size());
  rest = rest.substr(0, rest.find('/'));
  Address address;
  const std::size_t colon = rest.rfind(':');
  const bool bracketed = rest.starts_with('[');
  const bool has_port = colon != std::string::npos && (!bracketed || colon > rest.find(']'));
  address.host = rest.substr(0, has_port ? colon : std::string::npos);
  address.port = has_port ? rest.substr(colon + 1) : "80";
  if (bracketed && address.host.size() > 2) address.host = address.host.substr(1, address.host.size() - 2);
  if (address.host.empty() || address.port.empty() || address.port.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return address;
}

Result<Got> http_get(const Address& address, const std::string& path, const std::string& api_key, int wait_seconds) {
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  boost::system::error_code error;
  const auto endpoints = asio::ip::tcp::resolver(io).resolve(address.host, address.port, error);
  if (!error) asio::connect(socket, endpoints, error);
  const timeval wait{wait_seconds, 0};
  if (!error) {
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  }
  beast::http::request<beast::http::empty_body> request(beast::http::verb::get, path, 11);
  request.set(beast::http::field::host, address.host + ":" + address.port);
  request.set(beast::http::field::connection, "close");
  if (!api_key.empty()) request.set("x-api-key", api_key);
  if (!error) beast::http::write(socket, request, error);
  beast::flat_buffer buffer;
  beast::http::response<beast::http::string_body> reply;
  if (!error) beast::http::read(socket, buffer, reply, error);
  if (error) return Error{ErrorCode::unavailable, error.message()};
  return Got{static_cast<int>(reply.result_int()), reply.body()};
}

Result<ServerFacts> facts_of(const std::string& url, const std::string& api_key) {
  const auto address = parse_url(url);
  if (!address) return Error{ErrorCode::invalid_argument, fmt::format("--url: '{}' is not of the form http://HOST:PORT", url)};
  const auto health = http_get(*address, "/health", api_key);
  if (!health) return Error{ErrorCode::unavailable, fmt::format("no server answers at {} ({})", url, health.error().message)};
  const Json told = Json::parse(health->body, nullptr, false);
  if (!told.is_object() || !told.contains("ready")) return Error{ErrorCode::internal, fmt::format("what answers at {} is no Pensieve server", url)};
  if (!told.value("ready", false)) {
    const std::string problem = told["problem"].is_string() ? told["problem"].get<std::string>() : "";
    if (told.value("status", "") == "failed") return Error{ErrorCode::internal, problem};
    return Error{ErrorCode::unavailable, fmt::format("{} is still loading its model", url)};
  }
  const auto models = http_get(*address, "/v1/models", api_key);
  if (!models) return Error{ErrorCode::unavailable, models.error().message};
  if (models->status == 401) return Error{ErrorCode::permission_denied, fmt::format("{} asks for a key: give --api-key or set PENSIEVE_API_KEY", url)};
  const Json list = Json::parse(models->body, nullptr, false);
  const Json* model = list.is_object() && list.contains("data") && list["data"].is_array() && !list["data"].empty() ? &list["data"][0] : nullptr;
  if (model == nullptr || !model->is_object() || !(*model)["id"].is_string()) return Error{ErrorCode::internal, fmt::format("{} lists no model", url)};
  ServerFacts facts;
  facts.url = url;
  facts.model_id = (*model)["id"].get<std::string>();
  const Json& loaded = told["model"];
  if (loaded.is_object() && loaded["context_tokens"].is_number_integer()) facts.context_tokens = loaded["context_tokens"].get<std::int64_t>();
  return facts;
}

}  // namespace pensieve
