// One answer in the API's shapes: server-sent events while it comes, or one
// message at its end. Fed with core events; gives back bytes.
//
//   Threads  one; plain state.
//   Source   shared/API.md sections 1.3 to 1.5.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "api/answer.h"
#include "api/anthropic/prompt_marks.h"
#include "core/stream_event.h"

namespace pensieve::anthropic {

class MessageWriter final : public AnswerWriter {
 public:
  // `thinking_omitted`: thinking blocks come without their words (sealed_thinking.h).
  // `diagnose`: asked once, when it is known what was reused; empty: the client did not ask.
  using Diagnose = std::function<std::optional<CacheMiss>(const Started&)>;
  MessageWriter(std::string message_id, std::string model, bool thinking_omitted = false, Diagnose diagnose = {});
  ~MessageWriter() override;

  // The server-sent events for this event; empty for those that clients are not told.
  std::string events_for(const StreamEvent& event, const std::string& request_id) override;
  std::string_view ping() const override;

  // For a reply that is not streamed: feed all, then take the message.
  void collect(const StreamEvent& event) override;
  std::string whole(const Finished& finished) override;

 private:
  enum class Open { nothing, text, thinking, call };
  struct Content;  // The blocks of a message that is not streamed.

  std::string start(const Started& started);
  std::string finish(const Finished& finished);
  std::string open(Open kind);  // Closes what was open, if it was of another kind.
  std::string close();
  std::string delta(const char* type, const char* field, const std::string& text) const;

  std::string message_id_;
  std::string model_;
  const bool thinking_omitted_;
  Open open_ = Open::nothing;
  int index_ = -1;
  std::string unseen_thinking_;       // Of the open block.
  std::int32_t thinking_tokens_ = 0;
  std::unique_ptr<Content> content_;
  Diagnose diagnose_;
  std::optional<CacheMiss> miss_;
};

}  // namespace pensieve::anthropic
