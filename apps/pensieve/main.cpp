// pensieve: the server and the command line. Never links the engine.
#include <CLI/CLI.hpp>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "base/version.h"
#include "commands.h"

namespace {

std::string own_path(const char* argv0) {
  std::error_code error;
  const auto path = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::absolute(argv0).string() : path.string();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace pensieve;
  CLI::App app{"Pensieve: a local LLM server that speaks the Anthropic Messages API."};
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("pensieve ") + kVersion);
  app.footer("Every flag of 'serve' is also an environment variable (PENSIEVE_PORT) and a key of the TOML file (port);\n"
             "a flag wins over the environment, that over the file.");

  CLI::App* serve_command = app.add_subcommand("serve", "Serve a model on an address");
  Settings::Values flags;
  for (const Setting& setting : all_settings()) {
    std::string help = setting.help;
    if (*setting.standard != '\0') help += std::string(" [") + setting.standard + "]";
    const std::string name = setting.name;
    serve_command->add_option_function<std::string>("--" + name, [&flags, name](const std::string& value) { flags[name] = value; }, help);
  }
  bool print_config = false;
  serve_command->add_flag("--print-config", print_config, "Print every setting with where it came from, and end");

  RunOptions run_options;
  CLI::App* run_command = app.add_subcommand("run", "Ask a running server one question, or talk with it");
  run_command->add_option("PROMPT", run_options.prompt, "One question; without it: a conversation in the terminal");
  run_command->add_option("--url", run_options.url, "The server")->capture_default_str();
  run_command->add_option("--api-key", run_options.api_key, "Key to send")->envname("PENSIEVE_API_KEY");
  run_command->add_option("--system", run_options.system, "System prompt");
  run_command->add_option("--max-tokens", run_options.max_tokens, "Longest answer")->capture_default_str()->check(CLI::Range(1, 1 << 20));

  PlanOptions plan_options;
  CLI::App* plan_command = app.add_subcommand("plan", "Show what a model will need, without loading it");
  plan_command->add_option("MODEL", plan_options.model, "The GGUF file")->required();
  plan_command->add_option("--context", plan_options.context_tokens, "Tokens of one slot; 0: what 1 GiB of KV cache holds")->capture_default_str()->check(CLI::Range(0, 1 << 24));
  plan_command->add_option("--slots", plan_options.slots, "Requests that run at once")->capture_default_str()->check(CLI::Range(1, 64));
  plan_command->add_flag("--json", plan_options.json, "Print as JSON");

  CLI::App* version_command = app.add_subcommand("version", "Print the version");
  CLI::App* help_command = app.add_subcommand("help", "Print this help; 'pensieve COMMAND --help' prints a command's");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  if (help_command->parsed()) {
    std::cout << app.help("", CLI::AppFormatMode::All);
    return 0;
  }
  if (version_command->parsed()) {
    std::cout << "pensieve " << kVersion << '\n';
    return 0;
  }
  if (run_command->parsed()) return run(run_options);
  if (plan_command->parsed()) return plan(plan_options);
  const auto settings = Settings::resolve(flags, [](const char* name) { return std::getenv(name); });
  if (!settings) {
    std::cerr << "pensieve: " << settings.error().message << '\n';
    return 2;
  }
  if (print_config) {
    std::cout << settings->print();
    return 0;
  }
  return serve(*settings, own_path(argv[0]));
}
