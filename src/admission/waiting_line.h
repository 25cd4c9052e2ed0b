// The bounded line before the model: `slots` requests run, `queue` wait, the rest
// hear "overloaded" at once. A place is taken before anything is promised to the
// client and held until the whole stream is over.
//
//   Owns     nothing of a request; a Place is the request's hold on the line.
//   Threads  the I/O thread.
//   Blocks   Place::until_running() suspends its coroutine.
//   Errors   overloaded when full; retry_after() is computed then.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <list>
#include <memory>

#include "base/clock.h"
#include "base/result.h"

namespace pensieve {

class WaitingLine {
 private:
  struct Ticket {
    explicit Ticket(const boost::asio::any_io_executor& executor) : wake(executor) {}
    boost::asio::steady_timer wake;
    bool running = false;
    TimePoint running_since{};
  };

 public:
  // Leaves the line when destroyed, from wherever in it.
  class Place {
   public:
    Place(Place&& other) noexcept : line_(std::exchange(other.line_, nullptr)), ticket_(other.ticket_) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (line_ != nullptr) line_->leave(ticket_);
    }
    bool running() const { return ticket_->running; }
    // True once it is this request's turn; false when `wait` went by, or wake() was called, before.
    boost::asio::awaitable<bool> until_running(std::chrono::milliseconds wait);
    void wake() { ticket_->wake.cancel(); }

   private:
    friend class WaitingLine;
    Place(WaitingLine* line, std::list<Ticket>::iterator ticket) : line_(line), ticket_(ticket) {}
    WaitingLine* line_;
    std::list<Ticket>::iterator ticket_;
  };

  WaitingLine(boost::asio::any_io_executor executor, std::size_t slots, std::size_t queue_max);

  // `reserved`: places in the line that others were promised. One who was promised one gets it, even when the
  // line is full: up to half of it and two more, for they come in clusters.
  Result<Place> try_enter(std::size_t reserved = 0, bool promised = false);
  // Seconds after which a place is likely: 1 to 60 (agents give up above).
  int retry_after_seconds() const;

  std::size_t running() const { return running_; }
  std::size_t waiting() const { return tickets_.size() - running_; }
  std::size_t slots() const { return slots_; }
  std::size_t queue_max() const { return std::min(queue_max_, queue_limit_); }
  void shorten(std::size_t queue_limit) { queue_limit_ = queue_limit; }  // Those inside stay.
  double service_seconds() const { return service_seconds_; }

 private:
  void leave(std::list<Ticket>::iterator ticket);
  void let_in();

  boost::asio::any_io_executor executor_;
  const std::size_t slots_;
  const std::size_t queue_max_;
  std::size_t queue_limit_ = SIZE_MAX;
  std::list<Ticket> tickets_;  // In order of arrival; those that run come first.
  std::size_t running_ = 0;
  double service_seconds_ = 5;  // Moving average of how long a request holds its slot.
};

}  // namespace pensieve
