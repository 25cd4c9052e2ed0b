// `pensieve run`: talks to a running server, in the terminal. A client like any
// other: it knows the server's address and nothing of its insides.
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <iostream>
#include <nlohmann/json.hpp>

#include "client.h"
#include "commands.h"

namespace pensieve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using Json = nlohmann::json;

// Prints what arrives in `sse`, event by event; adds it to `answer`.
class Printer {
 public:
  void feed(std::string_view bytes) {
    pending_ += bytes;
    for (std::size_t end; (end = pending_.find("\n\n")) != std::string::npos; pending_.erase(0, end + 2)) event(pending_.substr(0, end));
  }
  const std::string& answer() const { return answer_; }
  const std::string& problem() const { return problem_; }

 private:
  void event(const std::string& block) {
    const std::size_t data = block.find("data: ");
    if (data == std::string::npos) return;
    const Json json = Json::parse(block.substr(data + 6), nullptr, false);
    if (json.is_discarded()) return;
    const std::string type = json.value("type", "");
    if (type == "content_block_delta") {
      const std::string text = json.at("delta").value("text", "");
      answer_ += text;
      std::cout << text << std::flush;
    } else if (type == "error") {
      problem_ = json.at("error").value("message", "the server reported an error");
    }
  }
  std::string pending_;
  std::string answer_;
  std::string problem_;
};

int failed(const std::string& message) {
  std::cerr << "pensieve run: " << message << '\n';
  return 1;
}

// One turn: sends the conversation, prints the answer as it comes, appends it.
int turn(const RunOptions& options, const Address& address, Json& messages) {
  Json body = {{"model", "local"}, {"max_tokens", options.max_tokens}, {"stream", true}, {"messages", messages}};
  if (!options.system.empty()) body["system"] = options.system;
  beast::http::request<beast::http::string_body> request(beast::http::verb::post, "/v1/messages", 11);
  request.set(beast::http::field::host, address.host + ":" + address.port);
  request.set(beast::http::field::content_type, "application/json");
  if (!options.api_key.empty()) request.set("x-api-key", options.api_key);
  request.body() = body.dump(-1, ' ', false, Json::error_handler_t::replace);
  request.prepare_payload();

  asio::io_context io;
  asio::ip::tcp::socket socket(io);
  boost::system::error_code error;
  const auto endpoints = asio::ip::tcp::resolver(io).resolve(address.host, address.port, error);
  if (!error) asio::connect(socket, endpoints, error);
  if (error) return failed(fmt::format("no server answers at {} ({}); start one with 'pensieve serve'", options.url, error.message()));
  beast::http::write(socket, request, error);
  beast::flat_buffer buffer;
  beast::http::response_parser<beast::http::buffer_body> parser;
  parser.body_limit(boost::none);
  if (!error) beast::http::read_header(socket, buffer, parser, error);
  if (error) return failed(fmt::format("{} broke off: {}", options.url, error.message()));

  const unsigned status = parser.get().result_int();
  Printer printer;
  std::string refusal;
  std::array<char, 16384> piece{};
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    beast::http::read_some(socket, buffer, parser, error);
    if (error && error != beast::http::error::need_buffer) return failed(fmt::format("the answer broke off: {}", error.message()));
    const std::string_view bytes(piece.data(), piece.size() - parser.get().body().size);
    if (status == 200) printer.feed(bytes);
    else refusal += bytes;
  }
  if (status != 200) {
    const Json json = Json::parse(refusal, nullptr, false);
    const bool told = json.is_object() && json.contains("error") && json["error"].is_object();
    return failed(fmt::format("{}: {}", status, told ? json["error"].value("message", refusal) : refusal));
  }
  std::cout << '\n';
  if (!printer.problem().empty()) return failed(printer.problem());
  messages.push_back({{"role", "assistant"}, {"content", printer.answer()}});
  return 0;
}

}  // namespace

int run(const RunOptions& options) {
  const auto address = parse_url(options.url);
  if (!address) {
    std::cerr << "pensieve run: --url: '" << options.url << "' is not of the form http://HOST:PORT\n";
    return 2;
  }
  Json messages = Json::array();
  if (!options.prompt.empty()) {
    messages.push_back({{"role", "user"}, {"content", options.prompt}});
    return turn(options, *address, messages);
  }
  const bool terminal = ::isatty(STDIN_FILENO) != 0;
  if (terminal) std::cout << "Talking to " << options.url << ". An empty line or Ctrl-D ends.\n";
  while (true) {
    if (terminal) std::cout << "> " << std::flush;
    std::string line;
    if (!std::getline(std::cin, line) || line.empty()) return 0;
    messages.push_back({{"role", "user"}, {"content", line}});
    if (const int code = turn(options, *address, messages); code != 0) return code;
  }
}

}  // namespace pensieve
