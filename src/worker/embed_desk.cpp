#include "worker/embed_desk.h"

#include <fmt/format.h>

namespace pensieve {
namespace {

Error does_not_generate() { return {ErrorCode::invalid_argument, "this model makes embeddings, it does not generate (POST /v1/embeddings)"}; }

}  // namespace

Result<EmbedInput> EmbedDesk::as_tokens(const EmbedInput& input, std::size_t index) const {
  const auto wrong = [index](std::string why) { return Error{ErrorCode::invalid_argument, fmt::format("input.{}: {}", index, why)}; };
  EmbedInput made{{}, input.tokens};
  if (made.tokens.empty()) {
    // With what the model wants around a text: its file says so.
    auto tokens = input.text.empty() ? Result<std::vector<TokenId>>(std::vector<TokenId>()) : embedder_.vocabulary().tokenise(input.text, true);
    if (!tokens) return std::move(tokens).error();
    made.tokens = *std::move(tokens);
  }
  for (const TokenId token : made.tokens) {
    if (token < 0 || token >= embedder_.vocabulary().size()) return wrong(fmt::format("{} is outside the vocabulary of {} tokens", token, embedder_.vocabulary().size()));
  }
  if (made.tokens.empty()) return wrong("must not be empty");
  const std::int32_t room = embedder_.facts().context_tokens;
  if (std::ssize(made.tokens) > room) return wrong(fmt::format("is too long: {} tokens > {} maximum", made.tokens.size(), room));
  return made;
}

// Every refusal of an input comes here, before anything was promised.
Result<wire::Counted> EmbedDesk::count(const wire::Count& count) {
  if (count.prompt.inputs.empty()) return does_not_generate();
  wire::Counted counted;
  counted.id = count.id;
  for (std::size_t i = 0; i < count.prompt.inputs.size(); ++i) {
    auto input = as_tokens(count.prompt.inputs[i], i);
    if (!input) return std::move(input).error();
    counted.input_tokens += static_cast<std::int32_t>(input->tokens.size());
    if (count.wants_tokens) counted.inputs.push_back(*std::move(input));
  }
  return counted;
}

Result<void> EmbedDesk::prepare(wire::Generate&) { return does_not_generate(); }

Result<void> EmbedDesk::prepare(wire::Embed& embed) {
  for (std::size_t i = 0; i < embed.request.inputs.size(); ++i) {
    auto input = as_tokens(embed.request.inputs[i], i);
    if (!input) return std::move(input).error();
    embed.request.inputs[i] = *std::move(input);
  }
  return {};
}

}  // namespace pensieve
