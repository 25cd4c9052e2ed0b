#include "worker/text_assembler.h"

#include <algorithm>

#include "base/utf8.h"

namespace pensieve {
namespace {

// The longest end of `text` that is the beginning of `stop`, but not all of it.
std::size_t begun_bytes(std::string_view text, std::string_view stop) {
  for (std::size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (stop.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

}  // namespace

std::string TextAssembler::push(std::string_view piece) {
  if (!stopped_by_.empty()) return {};
  held_ += piece;

  // The stop that begins first wins; of two that begin together, the longer.
  std::size_t stop_at = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (at < stop_at || (at == stop_at && stop.size() > stopped_by_.size())) {
      stop_at = at;
      stopped_by_ = stop;
    }
  }
  if (stop_at != std::string::npos) {
    std::string shown = utf8_sanitise(std::string_view(held_).substr(0, stop_at));
    held_.clear();
    return shown;
  }

  std::size_t keep = utf8_incomplete_tail(held_);
  for (const std::string& stop : stops_) keep = std::max(keep, begun_bytes(held_, stop));
  std::string_view ready = std::string_view(held_).substr(0, held_.size() - keep);
  ready.remove_suffix(utf8_incomplete_tail(ready));  // A stop sequence may begin inside a broken character.
  std::string shown = utf8_sanitise(ready);
  held_.erase(0, ready.size());
  return shown;
}

std::string TextAssembler::flush() {
  std::string shown = stopped_by_.empty() ? utf8_sanitise(held_) : std::string();
  held_.clear();
  return shown;
}

}  // namespace pensieve
