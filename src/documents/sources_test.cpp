#include "documents/sources.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <csignal>

#include "documents/small_server.h"
#include "documents/small_webp.h"

namespace pensieve {
namespace {

class SourcesTest : public ::testing::Test {
 protected:
  SourcesTest() {
    std::signal(SIGPIPE, SIG_IGN);  // As the server does.
    options_.urls = true;
    options_.remote.allowed = first_loopback;
  }
  // What is read, or why not.
  std::string said(boost::asio::awaitable<Result<Document>> reading) {
    std::string all;
    const auto read = [](boost::asio::awaitable<Result<Document>> made, std::string& into) -> boost::asio::awaitable<void> {
      const Result<Document> document = co_await std::move(made);
      into = document ? document->text : document.error().message;
      if (!document) co_return;
      for (const std::string& picture : document->pictures) into += "[" + picture + "]";
    };
    boost::asio::co_spawn(io_, read(std::move(reading), all), boost::asio::detached);
    io_.run();
    io_.restart();
    return all;
  }

  boost::asio::io_context io_;
  SourceOptions options_;
  Ledger ledger_{0, 256 << 20};
};

TEST_F(SourcesTest, AnImageByUrlIsItsBytes) {
  int asked = 0;
  SmallServer server([&](const std::string& path) {
    ++asked;
    if (path == "/page") return ok("text/html", "<img>");
    if (path == "/webp") return ok("image/webp", small_webp());
    if (path == "/tiff") return ok("image/tiff", "II*");
    if (path == "/nothing") return ok("image/png", "");
    if (path == "/moved") return moved("/a.png");
    return ok(path == "/a.jpg" ? "image/jpeg" : "image/png", "bytes of " + path);
  });
  Sources sources(options_, ledger_);
  EXPECT_EQ(said(sources.read_image_at(server.url("/a.jpg"))), "[bytes of /a.jpg]");
  EXPECT_EQ(said(sources.read_image_at(server.url("/moved"))), "[bytes of /a.png]");
  EXPECT_EQ(said(sources.read_image_at(server.url("/page"))), "this URL names a 'text/html'; PNG, JPEG, GIF and WebP are read");
  EXPECT_TRUE(said(sources.read_image_at(server.url("/webp"))).starts_with("[\x89PNG"));
  EXPECT_EQ(said(sources.read_image_at(server.url("/tiff"))), "this URL names a 'image/tiff'; PNG, JPEG, GIF and WebP are read");
  EXPECT_EQ(said(sources.read_image_at(server.url("/nothing"))), "this URL names nothing");
  EXPECT_EQ(said(sources.read_image_at(server.url("/a.png", "127.0.0.2"))), "this URL leads to an address that is not public, and is not fetched");
  // The same in the next turn, whatever stands there then; a document at that URL is something else.
  const int before = asked;
  EXPECT_EQ(said(sources.read_image_at(server.url("/a.jpg"))), "[bytes of /a.jpg]");
  EXPECT_EQ(asked, before);
  EXPECT_EQ(said(sources.read_at(server.url("/a.jpg"), true)), "this URL names a 'image/jpeg'; PDFs and text are read");
}

}  // namespace
}  // namespace pensieve
