// pensieve-logits: the logits of every token of a prompt, and what follows it
// greedily. For comparing the engine, number by number, with another one.
//
//   echo "1 15 27" | pensieve-logits m.gguf --context 512 --greedy 8 >logits.f32
//
// stdout: float32, a row of the vocabulary's size for each token read or sampled
// before the last; stderr: the ids that followed.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/log.h"
#include "engine/engine.h"

int main(int argc, char** argv) {
  using namespace pensieve;
  EngineOptions options;
  options.slots = 1;
  options.gpu_layers = 0;
  int greedy = 0;
  CLI::App app{"Prints the logits of the token ids on stdin as float32, and the ids that follow greedily on stderr."};
  app.add_option("MODEL", options.model_path)->required();
  app.add_option("--context", options.context_tokens)->capture_default_str();
  app.add_option("--threads", options.threads)->capture_default_str();
  app.add_option("--greedy", greedy, "Tokens to sample after them")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  if (!log_start("logits", "warn")) return 1;  // To stderr: stdout is the figures'.
  auto engine = load_llama_engine(options, [](double) {});
  if (!engine) {
    std::cerr << engine.error().message << '\n';
    return 1;
  }
  std::vector<TokenId> tokens;
  for (TokenId token = 0; std::cin >> token;) tokens.push_back(token);
  const std::size_t prompt = tokens.size();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Row row{.sequence = SequenceId{0}, .position = static_cast<std::int32_t>(i), .token = tokens[i], .wants_logits = true};
    if (const auto stepped = (*engine)->step({&row, 1}); !stepped) {
      std::cerr << stepped.error().message << '\n';
      return 1;
    }
    const auto logits = (*engine)->logits(0);
    if (std::fwrite(logits.data(), sizeof(float), logits.size(), stdout) != logits.size()) return 1;
    if (i + 1 >= prompt && tokens.size() < prompt + static_cast<std::size_t>(greedy)) tokens.push_back(static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin()));
  }
  for (std::size_t i = prompt; i < tokens.size(); ++i) std::cerr << tokens[i] << ' ';
  std::cerr << '\n';
  return 0;
}
