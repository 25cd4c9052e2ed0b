// The commands of `pensieve`. Each returns the process's exit code: 0 well, 1 it
// failed, 2 it was asked wrongly.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "settings/settings.h"

namespace pensieve {

int serve(const Settings& settings, const std::string& own_path);

struct RunOptions {
  std::string url = "http://127.0.0.1:7777";
  std::string api_key;
  std::string system;
  std::string prompt;  // Empty: a conversation in the terminal.
  int max_tokens = 1024;
};
int run(const RunOptions& options);

struct ConnectOptions {
  std::string url;      // Empty: this machine, `port`.
  int port = 7777;      // claude: 0 starts a server of its own on a free one.
  std::string api_key;
  std::string claude;   // The program; empty: "claude" in PATH.
  std::string model;    // For a server that is started: as serve's flags.
  std::string context;
  std::string worker;
  int wait_seconds = 300;
  std::string only;     // connect: one part.
};
// Runs Claude Code on a server that is found or started; its exit code. 127: it is not installed.
int claude(const ConnectOptions& options, const std::vector<std::string>& args, const std::string& own_path);
int connect(const ConnectOptions& options);

struct PlanOptions {
  std::string model;
  std::uint64_t context_tokens = 0;
  std::uint64_t slots = 2;
  bool slots_fixed = false;
  std::string memory;
  std::string kv_type = "auto";
  std::string worker;  // The worker's program.
  std::string mmproj;  // See the setting.
  bool json = false;
};
struct StatusOptions {
  std::string url = "http://127.0.0.1:7777";
  bool watch = false;
  bool json = false;
};
int status(const StatusOptions& options);
struct ReloadOptions {
  std::string url = "http://127.0.0.1:7777";
  int wait_seconds = 120;
  std::string model;  // Another one: a path, a name or an alias. Empty: the same.
};
int reload(const ReloadOptions& options);  // Returns when the new worker is ready.
int plan(const PlanOptions& options);

// The catalogue: `ls`, `show`, `rm`, `alias`, `pull`.
struct ModelsOptions {
  std::string models;  // The folder; empty: the standard one.
  std::string name;    // MODEL, ALIAS or what to pull.
  std::string target;  // Of `alias`: the model.
  std::string as;      // Of `pull`: what to call it.
  std::string sha256;
  std::string quantisation;  // Of `pull`: for checkpoints, as `import` takes it.
  int connections = 4;
  int stall_seconds = 30;
  int chunk_mb = 8;
  std::string memory;  // Of `ls` and `show`: the ceiling to fit, as `plan` takes it.
  std::string worker;  // The worker's program, which knows what its engine would allocate.
  bool remove = false;
  bool json = false;
};
int list_models(const ModelsOptions& options);
int show_model(const ModelsOptions& options);
int remove_model(const ModelsOptions& options);
int alias_model(const ModelsOptions& options);
int pull(const ModelsOptions& options, const std::string& own_path);

struct ImportCommand {
  std::string models;
  std::string folder;
  std::string name;
  std::string quantisation;
  bool json = false;
};
// Of checkpoints: the engine's quantiser, in a process of its own beside this program.
Result<void> quantise_file(const std::string& own_path, const std::string& from, const std::string& to, const std::string& type);
int import_model(const ImportCommand& command, const std::string& own_path);

// A file's path, or the path of a model of the catalogue by its name or alias. `models` as above.
// Where `reload` leaves the name of another model for the server of this process id: 0600, in the folder of this user's data.
std::string reload_file(pid_t server);
Result<std::string> resolve_model(const std::string& models, const std::string& text);

struct StoreOptionsGiven {
  std::string action;  // ls, stat, verify, purge.
  std::string folder;  // Empty: where serve keeps it by itself.
  std::string fingerprint;  // purge: only this one.
  bool yes = false;    // purge: do not ask.
};
int store(const StoreOptionsGiven& options);

}  // namespace pensieve
