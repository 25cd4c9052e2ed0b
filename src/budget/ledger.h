// What is committed of the ceiling: the part that is there as long as the worker
// runs, and what requests have reserved. A request reserves before it enters and
// gives back exactly once, when its Reservation dies.
//
//   Owns     the count.
//   Threads  one.
//   Units    bytes.
//   Errors   overloaded when it does not fit now; too_large when it could not if nothing else were reserved.
#pragma once

#include <cstdint>
#include <utility>

#include "base/result.h"

namespace pensieve {

class Ledger {
 public:
  class Reservation {
   public:
    Reservation(Reservation&& other) noexcept : ledger_(std::exchange(other.ledger_, nullptr)), bytes_(other.bytes_) {}
    Reservation& operator=(Reservation&&) = delete;
    ~Reservation() {
      if (ledger_ != nullptr) ledger_->reserved_ -= bytes_;
    }
    // More of the same, or nothing and an error.
    Result<void> add(std::uint64_t bytes);
    std::uint64_t bytes() const { return bytes_; }

   private:
    friend class Ledger;
    Reservation(Ledger* ledger, std::uint64_t bytes) : ledger_(ledger), bytes_(bytes) {}
    Ledger* ledger_;
    std::uint64_t bytes_;
  };

  // `standing_bytes`: committed always. `requests_bytes`: what requests may reserve together.
  Ledger(std::uint64_t standing_bytes, std::uint64_t requests_bytes) : standing_(standing_bytes), requests_max_(requests_bytes) {}

  // `beside`: what the same request has already.
  Result<Reservation> reserve(std::uint64_t bytes, std::uint64_t beside = 0);
  void set_standing(std::uint64_t bytes) { standing_ = bytes; }  // Another model is loaded.
  std::uint64_t committed_bytes() const { return standing_ + reserved_; }
  std::uint64_t budget_bytes() const { return standing_ + requests_max_; }
  std::uint64_t reserved_bytes() const { return reserved_; }

 private:
  std::uint64_t standing_;
  std::uint64_t requests_max_;
  std::uint64_t reserved_ = 0;
};

}  // namespace pensieve
