// pensieve-fake-worker: the worker with FakeEngine (src/engine/fake_engine.h) in
// place of the model, for contract and fault tests of the server. Takes the same
// flags; those that the script does not need are ignored. PENSIEVE_FAKE_FAULTS
// makes it misbehave, with any of these words:
//
//   ignore-sigterm   only SIGKILL ends it
//   garbage          says a line that is no report when it is ready
//   die-at-start     exits before it is ready
//   never-ready      begins to load, and goes on with that
//   only-health      loads, then answers health and nothing else
//
// With PENSIEVE_FAKE_EMBEDS it makes embeddings (src/engine/fake_embedder.h).
//
// With PENSIEVE_FAKE_FAULTS_ONCE, the path of a file, only the worker that finds it
// does so, and removes it: the one after it is sound.
#include <CLI/CLI.hpp>

#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "engine/fake_embedder.h"
#include "engine/fake_engine.h"
#include "worker/last_word.h"
#include "worker/wire_port.h"
#include "worker/worker.h"

namespace {

// Says that it is ready, and of each look that all is well.
int answer_health_only() {
  using namespace pensieve;
  WirePort port(STDIN_FILENO, STDOUT_FILENO);
  port.send(wire::Hello{wire::kProtocolVersion, "0", "fake"});
  wire::Ready ready;
  ready.model.name = "fake";
  ready.slots = 2;
  ready.context_tokens = 4096;
  ready.backends = "script";
  port.send(ready);
  while (const auto line = port.read_line()) {
    const auto command = wire::parse_command(*line);
    if (command && std::holds_alternative<wire::Health>(*command))
      port.send(wire::HealthReport{"ready", 0, 0, 0, 0, {}, {}});
  }
  no_last_words();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace pensieve;
  FakeEngineOptions engine;
  WorkerOptions worker;
  std::int64_t step_us = 0;
  std::string log_level = "info";
  bool plan = false;

  CLI::App app{"A worker that follows a script."};
  app.allow_extras();
  app.add_option("--slots", engine.slots);
  app.add_option("--context", engine.context_tokens);
  app.add_option("--step-us", step_us)->envname("PENSIEVE_FAKE_STEP_US");
  app.add_option("--chat-template", worker.chat_template);
  app.add_option("--tool-syntax", worker.tool_syntax);
  app.add_option("--store", worker.store.folder);
  app.add_option("--store-size", worker.store.size_max);
  app.add_option("--store-writes-per-day", worker.store.writes_per_day_max);
  app.add_flag("--exact,!--no-exact", worker.exact);
  app.add_option("--model", worker.model_path);
  app.add_option("--mmproj", worker.projector_path);
  app.add_flag("--mmproj-optional");
  app.add_option("--log-level", log_level);
  app.add_flag("--plan", plan);
  CLI11_PARSE(app, argc, argv);

  if (plan) return 1;  // A script needs nothing; the server then goes by its settings.
  if (engine.context_tokens == 0) engine.context_tokens = 4096;
  engine.step_time = std::chrono::microseconds(step_us);
  engine.sees = !worker.projector_path.empty();
  if (!log_start("fake-worker", log_level)) return 2;
  const char* variable = std::getenv("PENSIEVE_FAKE_FAULTS");
  const char* once = std::getenv("PENSIEVE_FAKE_FAULTS_ONCE");
  const bool at_fault = once == nullptr || std::remove(once) == 0;
  const std::string faults = variable == nullptr || !at_fault ? "" : variable;
  if (faults.find("ignore-sigterm") != std::string::npos) std::signal(SIGTERM, SIG_IGN);
  if (faults.find("die-at-start") != std::string::npos) return 3;
  if (faults.find("garbage") != std::string::npos) std::printf("this is no report\n");
  std::fflush(stdout);
  if (faults.find("never-ready") != std::string::npos) return ::pause();
  std::signal(SIGPIPE, SIG_IGN);
  end_with_last_words();
  if (faults.find("only-health") != std::string::npos) return answer_health_only();
  worker.engine_version = "fake";
  return run_worker(worker, [&](const auto&) -> Result<LoadedModel> {
    if (std::getenv("PENSIEVE_FAKE_EMBEDS") != nullptr) return LoadedModel(std::make_unique<FakeEmbedder>(FakeEmbedderOptions{engine.slots, engine.context_tokens, engine.step_time}));
    return LoadedModel(std::make_unique<FakeEngine>(engine));
  });
}
