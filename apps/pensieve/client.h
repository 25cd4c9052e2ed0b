// What the commands that talk to a server need: its address, one GET, its facts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "base/result.h"

namespace pensieve {

struct Address {
  std::string host;
  std::string port;
};

std::optional<Address> parse_url(const std::string& url);  // http://HOST[:PORT]

// unavailable: nobody answers, or not within `wait_seconds`. Any status is a reply.
struct Got {
  int status = 0;
  std::string body;
};
Result<Got> http_get(const Address& address, const std::string& path, const std::string& api_key, int wait_seconds = 5);

// What a client needs to know of a server that is ready.
struct ServerFacts {
  std::string url;
  std::string model_id;  // Without '/'.
  std::int64_t context_tokens = 0;
};
// unavailable: it does not answer or is still loading; internal: it says it cannot serve; permission_denied: the key.
Result<ServerFacts> facts_of(const std::string& url, const std::string& api_key);

}  // namespace pensieve
