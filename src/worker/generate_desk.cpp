#include "worker/generate_desk.h"

#include <fmt/format.h>

#include "chat/answer_grammar.h"
#include "worker/cache_marks.h"

namespace pensieve {
namespace {

// The server's own defaults, under the model's: a mild nucleus, as most local servers have.
constexpr float kTemperature = 0.8f;
constexpr std::int32_t kTopK = 40;
constexpr float kTopP = 0.95f;
constexpr float kMinP = 0.05f;

template <typename T>
void fill(std::optional<T>& value, const std::optional<T>& model, std::optional<T> server) {
  if (!value) value = model ? model : server;
}

Error makes_no_embeddings() {
  return {ErrorCode::invalid_argument, "embeddings are not made here: the loaded model generates text (pensieve serve --model EMBEDDING_MODEL --port ANOTHER makes them)"};
}

}  // namespace

Result<wire::Counted> GenerateDesk::count(const wire::Count& count) {
  if (!count.prompt.inputs.empty()) return makes_no_embeddings();
  auto read = prompts_.read(count.prompt, count.wants_tokens);
  // A schema that cannot be used is refused with the count, before anything was promised.
  if (auto grammar = answer_grammar(count.prompt, read ? read->opening : std::string(), chat_.tool_syntax(), chat_.thinking_marks()); read && !grammar) read = std::move(grammar).error();
  if (!read) return std::move(read).error();
  answers_recognised_ += static_cast<std::uint64_t>(read->answers_recognised);
  wire::Counted counted;
  counted.id = count.id;
  counted.input_tokens = static_cast<std::int32_t>(read->tokens.size());
  if (count.wants_tokens) {
    counted.marks = marks_of(count.prompt, read->tokens);
    counted.tokens = std::move(read->tokens);
    counted.opening = std::move(read->opening);
    counted.origin = std::move(read->origin);
  }
  return counted;
}

Result<void> GenerateDesk::prepare(wire::Generate& generate) {
  GenerateRequest& request = generate.request;
  if (!request.prompt.inputs.empty()) return makes_no_embeddings();
  auto read = prompts_.read(request.prompt);
  if (!read) return std::move(read).error();
  if (request.prompt.tokens.empty()) {  // Else they came with the tokens.
    request.opening = std::move(read->opening);
    request.origin = std::move(read->origin);
    request.marks = marks_of(request.prompt, read->tokens);
    answers_recognised_ += static_cast<std::uint64_t>(read->answers_recognised);
  }
  auto grammar = answer_grammar(request.prompt, request.opening, chat_.tool_syntax(), chat_.thinking_marks());
  if (!grammar) return std::move(grammar).error();
  request.grammar = *std::move(grammar);
  const std::int32_t room = engine_.facts().context_tokens;
  if (read->tokens.empty() || std::ssize(read->tokens) >= room) {
    return Error{ErrorCode::invalid_argument, fmt::format("prompt is too long: {} tokens > {} maximum", read->tokens.size(), room - 1)};
  }
  request.prompt.tokens = std::move(read->tokens);
  request.pictures = std::move(read->pictures);
  request.prompt.messages.clear();
  const Sampling& model = engine_.facts().defaults;
  Sampling& sampling = request.sampling;
  fill(sampling.temperature, model.temperature, std::optional(kTemperature));
  fill(sampling.top_k, model.top_k, std::optional(kTopK));
  fill(sampling.top_p, model.top_p, std::optional(kTopP));
  fill(sampling.min_p, model.min_p, std::optional(kMinP));
  fill(sampling.repeat_penalty, model.repeat_penalty, {});
  if (!sampling.seed) sampling.seed = random_();
  return {};
}

Result<void> GenerateDesk::prepare(wire::Embed&) { return makes_no_embeddings(); }

// Where the state can be cut, the prompt's end is enough.
std::vector<std::int32_t> GenerateDesk::marks_of(const Prompt& prompt, std::span<const TokenId> tokens) {
  return engine_.kv_shape() != nullptr ? std::vector<std::int32_t>() : cache_marks(prompts_, prompt, tokens);
}

}  // namespace pensieve
