// `pensieve status [--watch]`: what /health of a running server says, for a person.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "commands.h"

namespace pensieve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Json = nlohmann::json;

// /health, or why there is none.
Result<Json> health_of(std::string url) {
  constexpr std::string_view kScheme = "http://";
  if (!url.starts_with(kScheme)) return Error{ErrorCode::invalid_argument, fmt::format("--url: '{}' does not begin with http://", url)};
  url.erase(0, kScheme.size());
  url = url.substr(0, url.find('/'));
  const std::size_t colon = url.rfind(':');
  const std::string host = url.substr(0, colon);
  const std::string port = colon == std::string::npos ? "80" : url.substr(colon + 1);
  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  boost::system::error_code error;
  asio::connect(socket, asio::ip::tcp::resolver(io).resolve(host, port, error), error);
  if (error) return Error{ErrorCode::unavailable, fmt::format("no server answers at {}:{}: {}", host, port, error.message())};
  beast::http::request<beast::http::empty_body> request(beast::http::verb::get, "/health", 11);
  request.set("host", url);
  beast::http::write(socket, request, error);
  beast::flat_buffer buffer;
  beast::http::response<beast::http::string_body> reply;
  if (!error) beast::http::read(socket, buffer, reply, error);
  if (error) return Error{ErrorCode::unavailable, fmt::format("the server's answer was cut off: {}", error.message())};
  Json json = Json::parse(reply.body(), nullptr, false);
  if (!json.is_object()) return Error{ErrorCode::corrupt, "what answers there is no pensieve server"};
  return json;
}

std::string megabytes(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return "?";
  return fmt::format("{:.1f} MB", found->get<double>() / 1e6);
}

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "?";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

Json part(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : Json::object();
}

std::string page(const Json& health) {
  const Json memory = part(health, "memory"), worker = part(health, "worker"), model = part(health, "model"), slots = part(health, "slots"), queue = part(health, "queue");
  std::string lines = fmt::format("status     {}{}\n", text_of(health, "status"), health.value("problem", Json()).is_string() ? ": " + text_of(health, "problem") : "");
  if (!model.empty()) lines += fmt::format("model      {}, {} slots of {} tokens, KV cache {}\n", text_of(model, "name"), text_of(slots, "total"), text_of(model, "context_tokens"), megabytes(model, "kv_bytes"));
  lines += fmt::format("requests   {} running, {} of {} waiting\n", text_of(slots, "running"), text_of(queue, "waiting"), text_of(queue, "max"));
  lines += fmt::format("memory     {}, {} GB available, {}\n", text_of(memory, "status"), memory.contains("available_gb") && memory["available_gb"].is_number() ? fmt::format("{:.1f}", memory["available_gb"].get<double>()) : "?",
                       memory.value("accepting_requests", false) ? "accepting requests" : "accepting no requests");
  for (const Json& action : memory.value("actions", Json::array())) lines += fmt::format("  done     {}\n", action.is_string() ? action.get<std::string>() : action.dump());
  lines += fmt::format("  in use   {} ({} own, {} mapped files)\n", megabytes(memory, "tree_pss_bytes"), megabytes(memory, "anonymous_bytes"), megabytes(memory, "file_bytes"));
  lines += fmt::format("  plan     {} committed of {}\n", megabytes(memory, "committed_bytes"), megabytes(memory, "budget_bytes"));
  lines += fmt::format("worker     {}, pid {}, {} restarts{}\n", text_of(worker, "state"), text_of(worker, "pid"), text_of(worker, "restarts"),
                       worker.value("degraded", false) ? ", degraded" : "");
  const Json cap = part(worker, "cap");
  if (!cap.empty()) lines += fmt::format("  cap      {}{}\n", text_of(cap, "kind"), cap.value("group", Json()).is_string() ? " " + text_of(cap, "group") : "");
  if (worker.value("last_death", Json()).is_string()) lines += fmt::format("  last death: {}\n", text_of(worker, "last_death"));
  return lines;
}

}  // namespace

int status(const StatusOptions& options) {
  while (true) {
    const auto health = health_of(options.url);
    if (options.watch && ::isatty(STDOUT_FILENO) != 0) std::cout << "\033[H\033[2J";
    if (!health) std::cerr << "pensieve status: " << health.error().message << '\n';
    else if (options.json) std::cout << health->dump(2) << '\n';
    else std::cout << page(*health);
    std::cout << std::flush;
    if (!options.watch) return health ? 0 : 1;
    std::this_thread::sleep_for(std::chrono::seconds(1));
  }
}

}  // namespace pensieve
