#include "documents/remote_document.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "documents/small_server.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

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
