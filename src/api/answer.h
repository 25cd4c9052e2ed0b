// What every dialect of the API has in common: a request to generate, and somebody
// who writes its answer. Api runs the request; a dialect (api/anthropic, api/openai)
// reads its own shapes into Asked and writes its own shapes through AnswerWriter.
//
//   Threads  one; plain state.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/request.h"
#include "core/stream_event.h"
#include "http/exchange.h"

namespace pensieve {

struct Asked {
  std::string model;  // As the client named it; replies echo it.
  bool stream = false;
  Prompt prompt;
  Sampling sampling;
  std::int32_t max_tokens = 0;  // Clamped to the room there is.
  std::vector<std::string> stop_sequences;
  std::int32_t keep_seconds = 0;  // The prompt is to be kept so long; 0: nobody asked.
  std::int32_t dimensions = 0;    // Of each vector, where the prompt is inputs; 0: as many as the model makes.
};

// One answer: either events_for() each event as it comes, or collect() each and
// whole() at the end.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // The bytes to send for this event; empty for those that clients are not told.
  virtual std::string events_for(const StreamEvent& event, const std::string& request_id) = 0;
  virtual std::string_view ping() const = 0;  // Keeps a silent stream alive.
  virtual void collect(const StreamEvent& event) = 0;
  virtual std::string whole(const Finished& finished) = 0;
};

// How a dialect says no.
struct Dialect {
  http::Reply (*refuse)(int status, const std::string& message, const std::string& request_id);
  int (*status_of)(ErrorCode code);

  http::Reply refusal(const Error& error, const std::string& request_id) const { return refuse(status_of(error.code), error.message, request_id); }
};

}  // namespace pensieve
