// The body of POST /v1/messages and /v1/messages/count_tokens.
#include "api/anthropic/messages_request.h"

#include "base/check.h"
#include "fuzz.h"
#include "wire/frames.h"

using namespace pensieve;
using anthropic::Endpoint;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body = view_of(data, size);
  for (const Endpoint endpoint : {Endpoint::messages, Endpoint::count_tokens}) {
    for (const bool client_rules : {true, false}) {
      const Result<anthropic::MessagesRequest> request = anthropic::parse_messages_request(body, endpoint, client_rules, {}, client_rules);
      if (!request) {
        CHECK(!request.error().message.empty(), "an error says what is wrong");
        CHECK(request.error().code == ErrorCode::invalid_argument, "a bad body is the client's mistake");
        continue;
      }
      if (request->threaded) continue;
      CHECK(request->max_tokens >= 0, "max_tokens is checked");
      GenerateRequest generate;
      generate.id = RequestId{1};
      generate.prompt = request->prompt;
      generate.sampling = request->sampling;
      generate.max_tokens = request->max_tokens;
      generate.stop_sequences = request->stop_sequences;
      generate.keep_seconds = request->keep_seconds;
      const Result<wire::Command> back = wire::parse_command(wire::encode(wire::Command{wire::Generate{generate}}));
      CHECK(back.ok(), "what the edge lets in, the worker can read");
      CHECK(std::get<wire::Generate>(*back).request == generate, "and it reads the same");
    }
  }
  return 0;
}
