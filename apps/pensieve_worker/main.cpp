// pensieve-worker: one resident model, driven by lines on stdin, answering by
// lines on stdout (docs/wire.md). `pensieve serve` starts it; a person can too:
//
//   echo '{"cmd":"generate","id":1,"max_tokens":50,"messages":[{"role":"user","content":"hi"}]}' | pensieve-worker --model m.gguf
#include <CLI/CLI.hpp>

#include <fmt/format.h>

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <vector>

#include "base/log.h"
#include "base/version.h"
#include "platform/limits.h"
#include "platform/memory.h"
#include "worker/last_word.h"
#include "worker/worker.h"

namespace {

// Contexts at which the plan asks the engine (budget/budget.h draws the lines between them).
constexpr std::int32_t kPlanContexts[] = {512, 1024, 2048, 4096, 8192, 16384, 32768};

int print_plan(const pensieve::EngineOptions& options) {
  using namespace pensieve;
  on_llama_abort([](bool, const char* message) {
    std::cerr << message << std::endl;
    std::_Exit(1);
  });
  std::vector<EngineVariant> variants;
  for (const std::int32_t tokens : kPlanContexts) variants.push_back({options.kv_type, tokens});
  const auto needs = plan_llama_model(options, variants);
  if (!needs) {
    std::cerr << needs.error().message << '\n';
    return 1;
  }
  std::string list;
  for (const EngineNeeds& one : *needs) {
    list += fmt::format(R"({}{{"kv_type":"{}","context_tokens":{},"kv_bytes":{},"compute_bytes":{},"attention_matrix":{},"whole_states":{},"whole_steps":{}}})", list.empty() ? "" : ",",
                        one.kv_type == KvType::f16 ? "f16" : "q8_0", one.context_tokens, one.kv_bytes, one.compute_bytes, one.attention_matrix, one.whole_states, one.whole_steps);
  }
  const EngineNeeds& first = needs->front();
  const auto own = process_memory(::getpid()).value_or(ProcessMemory{});
  std::cout << fmt::format(R"({{"context_trained":{},"heads":{},"embedding":{},"vocabulary":{},"process_bytes":{},"sight_bytes":{},"vector_size":{},"variants":[{}]}})",
                           first.context_trained, first.heads, first.embedding, first.vocabulary, own.rss_bytes, first.sight_bytes, first.vector_size, list)
            << std::endl;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace pensieve;
  EngineOptions engine;
  WorkerOptions worker;
  std::string gpu_layers = "auto";
  std::string log_level = "info";
  std::string kv_type = "f16";
  std::uint64_t data_bytes_max = 0;
  bool plan = false;
  bool exact_tried = false;

  CLI::App app{"One resident model behind lines of JSON on stdin and stdout (docs/wire.md). Started by 'pensieve serve'."};
  app.set_version_flag("--version", std::string("pensieve-worker ") + kVersion + ", engine libllama " + llama_engine_version());
  app.add_option("--model", engine.model_path, "The GGUF file to load")->required();
  app.add_option("--slots", engine.slots, "Sequences that run at once")->capture_default_str()->check(CLI::Range(1, 64));
  app.add_option("--context", engine.context_tokens, "Tokens of one slot, prompt and answer; 0: what 1 GiB of KV cache holds")->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_option("--threads", engine.threads, "Threads that compute; 0: one for each core, from 8 on one fewer")->capture_default_str()->check(CLI::Range(0, 1024));
  app.add_option("--gpu-layers", gpu_layers, "Layers on a GPU backend: auto or a number")->capture_default_str();
  app.add_option("--kv-type", kv_type, "How the KV cache is kept: f16, or q8_0 (half the bytes)")->capture_default_str()->check(CLI::IsMember({"f16", "q8_0"}));
  app.add_option("--mmproj", engine.projector_path, "The projector's GGUF file, with which the model sees; without it: it does not");
  app.add_flag("--mmproj-optional", engine.projector_optional, "A projector that cannot be used is warned of, no more");
  app.add_option("--proof", engine.proof, "What a worker before this one said of its kernels (ready.proof): they are not tried again");
  app.add_flag("--exact-tried", exact_tried, "With --proof: that worker tried, too, whether answers are exact, and saw nothing that differs");
  app.add_option("--data-max", data_bytes_max, "Bytes of memory that this process may have for itself, enforced by the system; 0: no limit");
  app.add_flag("--plan", plan, "Print what the engine would allocate with this --kv-type, as JSON, and end");
  app.add_option("--chat-template", worker.chat_template, "chatml, phi3, llama3, plain, or Jinja source; default: the model's own");
  app.add_option("--tool-syntax", worker.tool_syntax, "How the model writes calls of tools (hermes, qwen-xml, llama, mistral, phi4, deepseek, glm, granite, gemma, harmony); default: as its template shows");
  app.add_option("--store", worker.store.folder, "Folder of the block store; without it: none");
  app.add_option("--store-size", worker.store.size_max, "Bytes of all blocks")->capture_default_str()->transform(CLI::AsSizeValue(false));
  app.add_option("--store-writes-per-day", worker.store.writes_per_day_max, "Bytes written a day, at most")->capture_default_str()->transform(CLI::AsSizeValue(false));
  app.add_flag("--exact,!--no-exact", worker.exact, "Reuse only what gives the same tokens bit for bit")->capture_default_str();
  app.add_option("--log-level", log_level, "trace, debug, info, warn, error, off")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  if (gpu_layers != "auto") {
    try {
      engine.gpu_layers = std::stoi(gpu_layers);
    } catch (const std::exception&) {
      std::cerr << "--gpu-layers: '" << gpu_layers << "' is neither auto nor a number\n";
      return 2;
    }
  }
  if (const auto started = log_start("worker", log_level); !started) {
    std::cerr << started.error().message << '\n';
    return 2;
  }
  engine.kv_type = kv_type == "q8_0" ? KvType::q8_0 : KvType::f16;
  if (plan) return print_plan(engine);
  make_first_victim();
  leave_no_core();
  end_with_last_words();
  on_llama_abort([](bool out_of_memory, const char* message) { end_with(out_of_memory ? kOutOfMemory : message); });
  if (data_bytes_max > 0) {
    if (const Result<void> capped = cap_own_data(data_bytes_max); !capped) log::warn("--data-max: {}", capped.error().message);
  }
  std::signal(SIGPIPE, SIG_IGN);  // A reader that is gone is seen by write().
  std::signal(SIGINT, SIG_IGN);   // Ctrl-C in a terminal reaches the whole group; the server decides.
  worker.model_path = engine.model_path;
  worker.projector_path = engine.projector_path;
  worker.engine_version = llama_engine_version();
  if (exact_tried) worker.exact_tried = engine.proof;
  return run_worker(worker, [&](const auto& on_progress) { return load_llama_model(engine, on_progress); });
}
