#include "http/guard.h"

#include <algorithm>
#include <cctype>

namespace pensieve::http {
namespace {

bool is_digits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

// "name:7777" and "[::1]:7777" without the port.
std::string without_port(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  const bool has_port = colon != std::string_view::npos && is_digits(host.substr(colon + 1)) &&
                        (host.starts_with('[') ? host[colon - 1] == ']' : host.find(':') == colon);
  std::string name(has_port ? host.substr(0, colon) : host);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

bool is_loopback_name(const std::string& name) { return name == "localhost" || name == "127.0.0.1" || name == "[::1]" || name == "::1"; }

}  // namespace

bool host_allowed(const GuardOptions& options, std::string_view host_header) {
  if (!options.check_host) return true;
  if (host_header.empty()) return false;
  const std::string name = without_port(host_header);
  return is_loopback_name(name) || name == options.bound_host;
}

bool origin_allowed(const GuardOptions& options, std::string_view origin_header) {
  if (origin_header.empty()) return true;
  for (const std::string& origin : options.cors_origins) {
    if (origin == "*" || origin == origin_header) return true;
  }
  return false;
}

}  // namespace pensieve::http
