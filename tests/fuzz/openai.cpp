// The bodies of the OpenAI endpoints. Every body goes to all four.
#include "api/openai/embeddings_request.h"
#include "api/openai/request.h"
#include "base/check.h"
#include "fuzz.h"
#include "wire/frames.h"

using namespace pensieve;

namespace {

void look_at(const Result<openai::Request>& request) {
  if (!request) {
    CHECK(!request.error().message.empty(), "an error says what is wrong");
    CHECK(request.error().code == ErrorCode::invalid_argument, "a bad body is the client's mistake");
    return;
  }
  const Asked& asked = request->asked;
  CHECK(asked.max_tokens >= 0, "max_tokens is checked");
  GenerateRequest generate;
  generate.id = RequestId{1};
  generate.prompt = asked.prompt;
  generate.sampling = asked.sampling;
  generate.max_tokens = asked.max_tokens;
  generate.stop_sequences = asked.stop_sequences;
  generate.keep_seconds = asked.keep_seconds;
  const Result<wire::Command> back = wire::parse_command(wire::encode(wire::Command{wire::Generate{generate}}));
  CHECK(back.ok(), "what the edge lets in, the worker can read");
  CHECK(std::get<wire::Generate>(*back).request == generate, "and it reads the same");
}

void look_at(const Result<openai::EmbeddingsRequest>& request) {
  if (!request) {
    CHECK(!request.error().message.empty(), "an error says what is wrong");
    CHECK(request.error().code == ErrorCode::invalid_argument, "a bad body is the client's mistake");
    return;
  }
  const Asked& asked = request->asked;
  CHECK(!asked.prompt.inputs.empty() && asked.dimensions >= 0, "there is something to embed");
  for (const EmbedInput& input : asked.prompt.inputs) CHECK(input.text.empty() != input.tokens.empty(), "an input is a text or ids");
  const wire::Count count{RequestId{1}, asked.prompt, true};
  const Result<wire::Command> back = wire::parse_command(wire::encode(wire::Command{count}));
  CHECK(back.ok(), "what the edge lets in, the worker can read");
  CHECK(std::get<wire::Count>(*back) == count, "and it reads the same");
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view body = view_of(data, size);
  for (const bool sees : {true, false}) {
    look_at(openai::parse_chat(body, sees));
    look_at(openai::parse_response(body, sees));
  }
  look_at(openai::parse_completion(body));
  look_at(openai::parse_embeddings(body));
  return 0;
}
