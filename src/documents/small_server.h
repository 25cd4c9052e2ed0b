// For tests: a server on this machine that says what the test wants, and an `allowed` that lets fetches reach it.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <thread>

namespace pensieve {

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

inline std::string ok(const std::string& type, const std::string& body) { return fmt::format("HTTP/1.1 200 OK\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{}", type, body.size(), body); }
inline std::string moved(const std::string& to) { return fmt::format("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", to); }

inline bool first_loopback(const sockaddr* address) {  // 127.0.0.1 stands for the world, the rest of 127/8 for what is private.
  sockaddr_in in{};
  std::memcpy(&in, address, sizeof in);
  return in.sin_family == AF_INET && ntohl(in.sin_addr.s_addr) == INADDR_LOOPBACK;
}

}  // namespace pensieve
