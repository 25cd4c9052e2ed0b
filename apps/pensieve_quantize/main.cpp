// pensieve-quantize: a GGUF file of halves into a smaller one. `pensieve import
// --quant` starts it, because `pensieve` itself never links the engine.
#include <CLI/CLI.hpp>

#include <iostream>

#include "engine/llama_quantise.h"

int main(int argc, char** argv) {
  std::string from;
  std::string to;
  std::string type;
  CLI::App app{"Quantises a GGUF file with the engine's own quantiser. Started by 'pensieve import'."};
  app.add_option("FROM", from, "A GGUF file of f16, bf16 or f32")->required();
  app.add_option("TO", to, "Where to write")->required();
  app.add_option("TYPE", type, "q4_0, q4_k_s, q4_k_m, q5_k_m or q6_k")->required();
  CLI11_PARSE(app, argc, argv);
  const auto done = pensieve::llama_quantise(from, to, type);
  if (done) return 0;
  std::cerr << done.error().message << '\n';
  return 1;
}
