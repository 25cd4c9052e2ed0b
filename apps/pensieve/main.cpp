// pensieve: the server and the command line. Never links the engine.
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <vector>

#include "base/version.h"
#include "budgeting.h"
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

  ConnectOptions connect_options;
  const auto add_connect_command = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_option("--url", connect_options.url, "The server; default: this machine, --port");
    command->add_option("--port", connect_options.port, "Its port on this machine")->envname("PENSIEVE_PORT")->capture_default_str()->check(CLI::Range(0, 65535));
    command->add_option("--api-key", connect_options.api_key, "Key to send")->envname("PENSIEVE_API_KEY");
    return command;
  };
  CLI::App* claude_command = add_connect_command("claude", "Run Claude Code on this server (found or started); what follows is Claude Code's");
  claude_command->add_option("--claude", connect_options.claude, "The program")->envname("PENSIEVE_CLAUDE");
  claude_command->add_option("--model", connect_options.model, "If a server is started: its model");
  claude_command->add_option("--context", connect_options.context, "If a server is started: tokens of one slot");
  claude_command->add_option("--worker", connect_options.worker, "If a server is started: its worker")->envname("PENSIEVE_WORKER");
  claude_command->add_option("--wait", connect_options.wait_seconds, "Seconds to wait for the model")->capture_default_str()->check(CLI::Range(1, 86400));
  claude_command->prefix_command();
  claude_command->footer("Our flags come first; the first word that is none of them begins Claude Code's: pensieve claude --port 7801 -p 'hello'");
  CLI::App* connect_command = add_connect_command("connect", "Print how clients connect: shell lines, SDKs, editors, curl");
  connect_command->add_option("--only", connect_options.only, "One part")->check(CLI::IsMember({"shell", "python", "typescript", "openai", "zed", "curl"}));

  PlanOptions plan_options;
  CLI::App* plan_command = app.add_subcommand("plan", "Show what a model will need, without loading it");
  plan_command->add_option("MODEL", plan_options.model, "A model's name, an alias, or a GGUF file")->required();
  plan_command->add_option("--context", plan_options.context_tokens, "Tokens of one slot; 0: what 1 GiB of KV cache holds")->capture_default_str()->check(CLI::Range(0, 1 << 24));
  plan_command->add_option("--slots", plan_options.slots, "Requests that run at once")->capture_default_str()->check(CLI::Range(1, 64));
  CLI::Option* plan_slots = plan_command->get_option("--slots");
  plan_command->add_option("--memory", plan_options.memory, "Ceiling: a size (4G) or a part of the machine (50%); default: what is available, less a margin");
  plan_command->add_option("--kv-type", plan_options.kv_type, "auto, f16 or q8_0")->capture_default_str()->check(CLI::IsMember({"auto", "f16", "q8_0"}));
  plan_command->add_option("--mmproj", plan_options.mmproj, "Projector with which the model sees; off: none; default: the one beside the model");
  plan_command->add_flag("--json", plan_options.json, "Print as JSON");

  StatusOptions status_options;
  CLI::App* status_command = app.add_subcommand("status", "Show how a running server is doing");
  status_command->add_option("--url", status_options.url, "The server")->capture_default_str();
  status_command->add_flag("--watch", status_options.watch, "Again every second");
  status_command->add_flag("--json", status_options.json, "Print what /health says");

  ReloadOptions reload_options;
  CLI::App* reload_command = app.add_subcommand("reload", "Replace the worker of a running server: its program and its model file as they are now; streams go on");
  reload_command->add_option("--url", reload_options.url, "The server, on this machine")->capture_default_str();
  reload_command->add_option("--model", reload_options.model, "Another model, a file or a name: what runs ends in the old one first, what comes meanwhile waits for the new one");
  reload_command->add_option("--wait", reload_options.wait_seconds, "Seconds to wait for the new worker, from when the old one was told to end")->capture_default_str()->check(CLI::Range(1, 86400));

  ModelsOptions models_options;
  const auto add_models_command = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_option("--models", models_options.models, "Folder of the models; default: PENSIEVE_MODELS, or ~/.local/share/pensieve/models");
    return command;
  };
  CLI::App* ls_command = add_models_command("ls", "List the models on this machine, what they need, and the aliases");
  ls_command->add_flag("--json", models_options.json, "Print as JSON");
  ls_command->add_option("--memory", models_options.memory, "Ceiling that they should fit: a size (4G) or a part of the machine (50%); default: what is available, less a margin");
  CLI::App* show_command = add_models_command("show", "Show one model: of this machine, or one of the known names");
  show_command->add_option("MODEL", models_options.name, "A model's name or an alias")->required();
  show_command->add_flag("--json", models_options.json, "Print as JSON");
  show_command->add_option("--memory", models_options.memory, "Ceiling that it should fit, as for ls");
  CLI::App* rm_command = add_models_command("rm", "Remove a model, or what an interrupted pull left of it");
  rm_command->add_option("MODEL", models_options.name, "A model's name")->required();
  CLI::App* alias_command = add_models_command("alias", "Map a name that clients send to a model; '*' stands for any text, 'default' is what serve takes by itself");
  alias_command->add_option("ALIAS", models_options.name, "The name, such as claude-sonnet-*");
  alias_command->add_option("MODEL", models_options.target, "The model it means");
  alias_command->add_flag("--remove", models_options.remove, "Remove the alias");
  CLI::App* pull_command = add_models_command("pull", "Bring a model here: resumable, checked; HF_TOKEN, HF_ENDPOINT and proxies are honoured");
  pull_command->add_option("WHAT", models_options.name, "A known name, hf:OWNER/REPO[:QUANT], or the address of a GGUF file; without it: the known names");
  pull_command->add_option("--name", models_options.as, "What to call it here");
  pull_command->add_option("--sha256", models_options.sha256, "The hash that the file at an address must have");
  pull_command->add_option("--quant", models_options.quantisation, "Of a checkpoint, which is imported: as 'import' takes it");
  pull_command->add_option("--connections", models_options.connections, "Ranges loaded at once")->capture_default_str()->check(CLI::Range(1, 16));
  pull_command->add_option("--chunk", models_options.chunk_mb, "Megabytes of one range: what an interruption costs at most, for each connection")->capture_default_str()->check(CLI::Range(1, 1024));
  pull_command->add_option("--stall", models_options.stall_seconds, "Seconds without a byte after which a connection is made anew")->capture_default_str()->check(CLI::Range(1, 600));

  ImportCommand import_options;
  CLI::App* import_command = app.add_subcommand("import", "Turn an MLX or safetensors checkpoint (Phi-3, Llama, Mistral, Qwen2, Qwen3) into a model of the catalogue");
  import_command->add_option("DIR", import_options.folder, "The checkpoint's folder: config.json, tokenizer, *.safetensors")->required();
  import_command->add_option("--name", import_options.name, "What to call it; default: the folder's name");
  import_command->add_option("--quant", import_options.quantisation, "f16, bf16, q8_0, q4_0, q4_k_s, q4_k_m, q5_k_m, q6_k; default: as near to the checkpoint as can be");
  import_command->add_option("--models", import_options.models, "Folder of the models; default: PENSIEVE_MODELS, or ~/.local/share/pensieve/models");
  import_command->add_flag("--json", import_options.json, "Print the report as JSON");

  StoreOptionsGiven store_options;
  CLI::App* store_command = app.add_subcommand("store", "Look at the computed prompts that are kept on disk, check them, remove them");
  store_command->require_subcommand(1);
  for (const auto& [action, help] : {std::pair{"ls", "A line for each model"}, std::pair{"stat", "How much there is"},
                                     std::pair{"verify", "Read every block and compare its checksums"}, std::pair{"purge", "Remove blocks"}}) {
    CLI::App* command = store_command->add_subcommand(action, help);
    command->callback([&store_options, name = std::string(action)] { store_options.action = name; });
    command->add_option("--store", store_options.folder, "The folder; default: pensieve/store in the user's cache folder")->envname("PENSIEVE_STORE");
    if (std::string_view(action) != "purge") continue;
    command->add_option("FINGERPRINT", store_options.fingerprint, "Only the blocks of this one, as ls shows it");
    command->add_flag("--yes", store_options.yes, "Do not ask");
  }

  CLI::App* version_command = app.add_subcommand("version", "Print the version");
  CLI::App* help_command = app.add_subcommand("help", "Print this help; 'pensieve COMMAND --help' prints a command's");

  // What stands behind "--" is Claude Code's, whatever it looks like.
  std::vector<std::string> after_dashes;
  if (argc > 1 && std::string_view(argv[1]) == "claude") {
    char** const dashes = std::find_if(argv, argv + argc, [](const char* word) { return std::string_view(word) == "--"; });
    if (dashes != argv + argc) after_dashes.assign(dashes + 1, argv + argc);
    argc = static_cast<int>(dashes - argv);
  }

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
  if (store_command->parsed()) return store(store_options);
  if (run_command->parsed()) return run(run_options);
  if (claude_command->parsed()) {
    std::vector<std::string> args = claude_command->remaining();
    args.insert(args.end(), after_dashes.begin(), after_dashes.end());
    return claude(connect_options, args, own_path(argv[0]));
  }
  if (connect_command->parsed()) return connect(connect_options);
  if (status_command->parsed()) return status(status_options);
  if (reload_command->parsed()) return reload(reload_options);
  if (plan_command->parsed()) {
    plan_options.worker = worker_beside(own_path(argv[0]));
    plan_options.slots_fixed = plan_slots->count() > 0;
    return plan(plan_options);
  }
  models_options.worker = worker_beside(own_path(argv[0]));
  if (ls_command->parsed()) return list_models(models_options);
  if (show_command->parsed()) return show_model(models_options);
  if (rm_command->parsed()) return remove_model(models_options);
  if (alias_command->parsed()) return alias_model(models_options);
  if (import_command->parsed()) return import_model(import_options, own_path(argv[0]));
  if (pull_command->parsed()) return pull(models_options, own_path(argv[0]));
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
