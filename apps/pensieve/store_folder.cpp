#include "store_folder.h"

#include <cstdlib>

namespace pensieve {

std::string default_store_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') return std::string(cache) + "/pensieve/store";
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') return std::string(home) + "/.cache/pensieve/store";
  return {};
}

std::string store_folder(const Settings& settings) {
  const std::string& given = settings.text("store");
  if (given == "off") return {};
  return given.empty() ? default_store_folder() : given;
}

}  // namespace pensieve
