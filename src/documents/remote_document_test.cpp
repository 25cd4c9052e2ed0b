#include "documents/remote_document.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <thread>

namespace pensieve {
namespace {

using namespace std::chrono_literals;

// Answers each request of a path with the bytes that `answer` gives for it.
class SmallServer {
 public:
  explicit SmallServer(std::function<std::string(const std::string& path)> answer) : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_ANY);  // All of 127.0.0.0/8.
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 8), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~SmallServer() {
    thread_ = {};
    ::close(listener_);
  }
  std::string url(const std::string& path, const std::string& host = "127.0.0.1") const { return fmt::format("http://{}:{}{}", host, port_, path); }

 private:
  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd end{listener_, POLLIN, 0};
      if (::poll(&end, 1, 20) <= 0) continue;
      const int peer = ::accept(listener_, nullptr, nullptr);
      std::string head;
      char buffer[4096];
      while (head.find("\r\n\r\n") == std::string::npos) {
        const ssize_t count = ::read(peer, buffer, sizeof buffer);
        if (count <= 0) break;
        head.append(buffer, static_cast<std::size_t>(count));
      }
      const std::size_t from = head.find(' ') + 1;
      const std::string reply = answer_(head.substr(from, head.find(' ', from) - from));
      (void)!::send(peer, reply.data(), reply.size(), MSG_NOSIGNAL);
      if (reply.find("content-length") == std::string::npos) {  // A server that says nothing more, and stays.
        pollfd left{peer, POLLIN, 0};
        while (!stop.stop_requested() && ::poll(&left, 1, 20) == 0) {}
      }
      ::close(peer);
    }
  }

  std::function<std::string(const std::string&)> answer_;
  int listener_;
  int port_ = 0;
  std::jthread thread_;
};

std::string ok(const std::string& type, const std::string& body) { return fmt::format("HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}", type, body.size(), body); }
std::string moved(const std::string& to) { return fmt::format("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", to); }

bool first_loopback(const sockaddr* address) {  // 127.0.0.1 stands for the world, the rest of 127/8 for what is private.
  sockaddr_in in{};
  std::memcpy(&in, address, sizeof in);
  return in.sin_family == AF_INET && ntohl(in.sin_addr.s_addr) == INADDR_LOOPBACK;
}

std::string why(const std::string& url, RemoteOptions options = {}) {
  const auto fetched = fetch_remote(url, options);
  return fetched ? "fetched: " + fetched->bytes : fetched.error().message;
}

TEST(RemoteDocument, BringsBytesAndTheirType) {
  SmallServer server([](const std::string& path) { return path == "/a?b" ? ok("Text/Plain; charset=utf-8", "hello") : moved("/a?b"); });
  RemoteOptions options;
  options.allowed = first_loopback;
  for (const char* path : {"/a?b", "/elsewhere"}) {
    const auto fetched = fetch_remote(server.url(path), options);
    ASSERT_TRUE(fetched.ok()) << fetched.error().message;
    EXPECT_EQ(fetched->bytes, "hello");
    EXPECT_EQ(fetched->media_type, "text/plain");
  }
}

TEST(RemoteDocument, NothingThatIsNotPublicIsReachedNeitherByNumberNorByNameNorByARedirect) {
  std::string inwards;
  int asked = 0;
  SmallServer server([&](const std::string& path) {
    ++asked;
    return path == "/out" ? moved(inwards) : ok("text/plain", "secret");
  });
  const std::string no = "this URL leads to an address that is not public, and is not fetched";
  for (const char* host : {"127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0.0.0.0"}) EXPECT_EQ(why(server.url("/", host)), no) << host;
  EXPECT_EQ(why("http://[::1]:1/"), no);
  EXPECT_EQ(why("http://[::ffff:127.0.0.1]:1/"), no);
  EXPECT_EQ(why("http://169.254.169.254/latest/meta-data/"), no);
  EXPECT_EQ(asked, 0);
  RemoteOptions options;
  options.allowed = first_loopback;
  inwards = server.url("/secret", "127.0.0.2");
  EXPECT_EQ(why(server.url("/out"), options), no);
  EXPECT_EQ(asked, 1);
  inwards = "file:///etc/passwd";
  EXPECT_TRUE(why(server.url("/out"), options).starts_with("this URL could not be fetched")) << why(server.url("/out"), options);
}

TEST(RemoteDocument, SizeTimeAndRedirectsHaveBounds) {
  SmallServer server([](const std::string& path) {
    if (path == "/loop") return moved("/loop");
    if (path == "/slow") return std::string("HTTP/1.1 200 OK\r\n");
    if (path == "/gone") return std::string("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    return ok("text/plain", std::string(1001, 'x'));
  });
  RemoteOptions options;
  options.allowed = first_loopback;
  options.bytes_max = 1000;
  options.wall_max = 300ms;
  EXPECT_EQ(why(server.url("/large"), options), "what this URL names has more than 1000 bytes");
  EXPECT_TRUE(why(server.url("/loop"), options).starts_with("this URL could not be fetched"));
  EXPECT_TRUE(why(server.url("/slow"), options).starts_with("this URL could not be fetched"));
  EXPECT_EQ(why(server.url("/gone"), options), "this URL could not be fetched: its server answered 404");
}

TEST(RemoteDocument, OnlyHttp) {
  EXPECT_EQ(why("file:///etc/passwd"), "only http and https URLs are fetched");
  EXPECT_EQ(why("ftp://example.org/x"), "only http and https URLs are fetched");
  EXPECT_EQ(why("http://user:secret@127.0.0.1/"), "URLs with a user's name in them are not fetched");
  EXPECT_EQ(why("not a url"), "this is not a URL");
  EXPECT_EQ(why(""), "this is not a URL");
}

}  // namespace
}  // namespace pensieve
