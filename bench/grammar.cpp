// What a grammar costs a token: decodes under a schema, and times the engine's step
// and the sampler apart. Two models of the sampler's luck:
//
//   agreeing    the model wants what the grammar allows, as a trained one mostly does:
//               its logits are helped towards the JSON text that a schema expects
//   stubborn    random weights as they are: nearly every pick is refused and made again
//
//   usage   pensieve-bench-grammar MODEL [TOKENS]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <iostream>

#include "base/log.h"
#include "chat/json_schema_grammar.h"
#include "engine/engine.h"

namespace {

using namespace pensieve;
using Clock = std::chrono::steady_clock;

// The sampler runs on this thread alone; its processor time says what it costs also beside other load.
double own_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

constexpr const char* kSchema =
    R"({"type":"object","properties":{"lines":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"kind":{"enum":["file","folder","link"]},"size":{"type":"integer"},"tags":{"type":"array","items":{"type":"string"}}},"required":["name","kind","size","tags"]}}},"required":["lines"]})";
const std::string kText = [] {
  std::string text = R"({"lines": [)";
  for (int i = 0; i < 200; ++i) text += fmt::format(R"({}{{"name": "folder {} and then some words", "kind": "folder", "size": {}, "tags": ["one", "two words"]}})", i == 0 ? "" : ", ", i, i * 37);
  return text + "]}";
}();

struct Times {
  double step_us = 0, sample_us = 0, sample_us_max = 0;
};

Times run(Engine& engine, const Grammar* grammar, bool agreeing, std::size_t tokens) {
  Sampling sampling;
  sampling.temperature = 0.8f;
  sampling.top_k = 40;
  sampling.top_p = 0.95f;
  sampling.min_p = 0.05f;
  sampling.seed = 7;
  auto sampler = engine.make_sampler(sampling, grammar);
  if (!sampler) {
    std::cerr << sampler.error().message << '\n';
    std::exit(1);
  }
  // A JSON text as this vocabulary splits it, and not as a text that begins with a space.
  std::vector<TokenId> wanted = *engine.vocabulary().tokenise("|" + kText, false);
  while (!wanted.empty() && engine.vocabulary().piece(wanted.front()) != "{") wanted.erase(wanted.begin());
  engine.forget(SequenceId{0}, 0);
  Times times;
  TokenId next = 1;
  const std::size_t count = std::min(tokens, wanted.size());
  std::vector<float> logits;
  for (std::size_t i = 0; i < count; ++i) {
    const Row row{SequenceId{0}, static_cast<std::int32_t>(i), next, true};
    const auto begun = Clock::now();
    if (!engine.step(std::span(&row, 1))) std::exit(1);
    const auto stepped = Clock::now();
    const auto raw = engine.logits(0);
    logits.assign(raw.begin(), raw.end());
    if (agreeing) logits[static_cast<std::size_t>(wanted[i])] += 30;
    else logits[static_cast<std::size_t>(engine.vocabulary().end_token())] = -30;
    const double before = own_us();
    next = (*sampler)->sample(logits);
    (*sampler)->accept(next);
    const double sample = own_us() - before;
    times.step_us += std::chrono::duration<double, std::micro>(stepped - begun).count() / static_cast<double>(count);
    times.sample_us += sample / static_cast<double>(count);
    times.sample_us_max = std::max(times.sample_us_max, sample);
  }
  return times;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: pensieve-bench-grammar MODEL [TOKENS]\n";
    return 2;
  }
  if (!log_start("bench", "error")) return 1;
  EngineOptions options;
  options.model_path = argv[1];
  options.slots = 1;
  options.context_tokens = 2048;
  if (!log_start("bench", "warn")) return 1;  // To stderr: stdout is the figures'.
  auto engine = load_llama_engine(options, [](double) {});
  if (!engine) {
    std::cerr << engine.error().message << '\n';
    return 1;
  }
  const std::size_t tokens = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 256;
  const auto made = json_schema_grammar(kSchema);
  const Grammar grammar{made->text, ""};
  run(**engine, &grammar, true, 16);  // Warm.
  std::cout << fmt::format("{}, vocabulary {}, {} tokens\n", (*engine)->facts().name, (*engine)->vocabulary().size(), tokens);
  std::cout << "                     step us   sampler us   worst us   grammar's share of a step\n";
  for (const bool agreeing : {true, false}) {
    const Times free = run(**engine, nullptr, agreeing, tokens);
    const Times held = run(**engine, &grammar, agreeing, tokens);
    for (const auto& [name, times] : {std::pair("free", free), std::pair("grammar", held)}) {
      std::cout << fmt::format("{:9} {:8} {:9.0f} {:12.0f} {:10.0f} {:10.2f} %\n", agreeing ? "agreeing" : "stubborn", name, times.step_us, times.sample_us, times.sample_us_max,
                               100 * (times.sample_us - free.sample_us) / free.step_us);
    }
  }
  return 0;
}
