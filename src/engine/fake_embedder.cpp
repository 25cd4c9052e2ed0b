#include "engine/fake_embedder.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>

#include "base/check.h"
#include "engine/fake_engine.h"

namespace pensieve {
namespace {

constexpr std::int32_t kNumbers = 8;
constexpr std::int32_t kStepRows = 16;

}  // namespace

FakeEmbedder::FakeEmbedder(const FakeEmbedderOptions& options) : options_(options), vocabulary_(make_fake_vocabulary()) {
  facts_.name = "fake-embed";
  facts_.architecture = "script";
  facts_.backends = "script";
  facts_.context_trained = facts_.context_tokens = options.context_tokens;
  facts_.slots = options.slots;
  facts_.step_rows_max = kStepRows;
  facts_.vector_size = kNumbers;
  facts_.pooling = "last";
}

std::vector<float> FakeEmbedder::vector_of(std::span<const TokenId> tokens) {
  std::vector<float> values(kNumbers, 0.0f);
  float place = 1;
  for (const TokenId token : tokens) {
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += std::sin(static_cast<float>(token) * static_cast<float>(i + 1)) * place;
    place = place * 0.97f + 0.01f;
  }
  return values;
}

Result<std::int32_t> FakeEmbedder::read(std::span<const TokenId> input, std::int32_t begin) {
  if (begin == 0) held_.clear();
  CHECK(std::ssize(held_) == begin && !input.empty() && std::ssize(input) <= options_.context_tokens, "an input is read on where it was left, and fits");
  std::this_thread::sleep_for(options_.step_time);
  std::string text;
  for (const TokenId token : input) text += vocabulary_->piece(token);
  const auto says = [&text](std::string_view word) { return text.find(word) != std::string::npos; };
  if (says("!abort")) std::abort();
  if (says("!hang")) ::pause();
  if (says("!fail")) return Error{ErrorCode::internal, "the script asked for a failed step"};
  const auto end = std::min(std::ssize(input), static_cast<std::ptrdiff_t>(begin + kStepRows));
  held_.assign(input.begin(), input.begin() + end);
  if (end == std::ssize(input)) vector_ = says("!zero") ? std::vector<float>(kNumbers, 0.0f) : vector_of(held_);
  return static_cast<std::int32_t>(end);
}

}  // namespace pensieve
