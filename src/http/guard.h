// Which Host and Origin headers a server on this machine accepts. A web page that
// points its own name at 127.0.0.1 (DNS rebinding) sends its name as Host, and
// any page sends its Origin: both are turned away.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pensieve::http {

struct GuardOptions {
  bool check_host = true;                 // On for loopback; elsewhere a key protects.
  std::string bound_host;                 // Also accepted as Host.
  std::vector<std::string> cors_origins;  // Origins that may read replies; "*": all.
};

bool host_allowed(const GuardOptions& options, std::string_view host_header);
// An absent (empty) Origin is allowed: no browser sent the request.
bool origin_allowed(const GuardOptions& options, std::string_view origin_header);

}  // namespace pensieve::http
