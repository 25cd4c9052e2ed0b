// One answer in the API's shapes: server-sent events while it comes, or one
// message at its end. Fed with core events; gives back bytes.
//
//   Threads  one; plain state.
//   Source   shared/API.md sections 1.3 to 1.5.
#pragma once

#include <string>
#include <string_view>

#include "api/answer.h"
#include "core/stream_event.h"

namespace pensieve::anthropic {

class MessageWriter final : public AnswerWriter {
 public:
  MessageWriter(std::string message_id, std::string model);

  // The server-sent events for this event; empty for those that clients are not told.
  std::string events_for(const StreamEvent& event, const std::string& request_id) override;
  std::string_view ping() const override;

  // For a reply that is not streamed: feed all, then take the message.
  void collect(const StreamEvent& event) override;
  std::string whole(const Finished& finished) override;

 private:
  std::string start(const Started& started);
  std::string finish(const Finished& finished);

  std::string message_id_;
  std::string model_;
  std::string text_;
};

}  // namespace pensieve::anthropic
