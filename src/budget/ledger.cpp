#include "budget/ledger.h"

#include <fmt/format.h>

#include <algorithm>

namespace pensieve {

Result<Ledger::Reservation> Ledger::reserve(std::uint64_t bytes, std::uint64_t beside) {
  if (bytes > requests_max_ - std::min(beside, requests_max_)) {
    return Error{ErrorCode::too_large, fmt::format("this request needs {} bytes and more; all requests together may have {} (--memory)", bytes + beside, requests_max_)};
  }
  if (bytes > requests_max_ - reserved_) {
    return Error{ErrorCode::overloaded, fmt::format("no memory for this request now: it needs {} bytes, {} of {} are taken (--memory)", bytes, reserved_, requests_max_)};
  }
  reserved_ += bytes;
  return Reservation(this, bytes);
}

Result<void> Ledger::Reservation::add(std::uint64_t bytes) {
  auto more = ledger_->reserve(bytes, bytes_);
  if (!more) return std::move(more).error();
  more->ledger_ = nullptr;  // Ours now.
  bytes_ += bytes;
  return {};
}

}  // namespace pensieve
