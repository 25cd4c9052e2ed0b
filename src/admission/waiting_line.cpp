#include "admission/waiting_line.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <cmath>

namespace pensieve {

boost::asio::awaitable<bool> WaitingLine::Place::until_running(std::chrono::milliseconds wait) {
  if (ticket_->running) co_return true;
  boost::system::error_code woken;
  ticket_->wake.expires_after(wait);
  co_await ticket_->wake.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, woken));
  co_return ticket_->running;
}

WaitingLine::WaitingLine(boost::asio::any_io_executor executor, std::size_t slots, std::size_t queue_max)
    : executor_(std::move(executor)), slots_(slots), queue_max_(queue_max) {}

Result<WaitingLine::Place> WaitingLine::try_enter(std::size_t reserved, bool promised) {
  const std::size_t taken = promised ? waiting() : waiting() + reserved;
  const std::size_t room = promised ? queue_max() + std::min(queue_max(), queue_max() / 2 + 2) : queue_max();
  if (running_ == slots_ && taken >= room) {
    return Error{ErrorCode::overloaded, "all slots are busy and the waiting line is full"};
  }
  tickets_.emplace_back(executor_);
  const auto ticket = std::prev(tickets_.end());
  let_in();
  return Place(this, ticket);
}

int WaitingLine::retry_after_seconds() const {
  const double turns = static_cast<double>(waiting() + 1) / static_cast<double>(slots_);
  return static_cast<int>(std::clamp(std::ceil(service_seconds_ * turns), 1.0, 60.0));
}

void WaitingLine::leave(std::list<Ticket>::iterator ticket) {
  if (ticket->running) {
    --running_;
    service_seconds_ = 0.8 * service_seconds_ + 0.2 * seconds(SteadyClock::now() - ticket->running_since);
  }
  tickets_.erase(ticket);
  let_in();
}

void WaitingLine::let_in() {
  for (Ticket& ticket : tickets_) {
    if (running_ == slots_) return;
    if (ticket.running) continue;
    ticket.running = true;
    ticket.running_since = SteadyClock::now();
    ++running_;
    ticket.wake.cancel();
  }
}

}  // namespace pensieve
