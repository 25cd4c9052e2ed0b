// The models on this machine: a folder of folders, one a model, and the aliases
// that map names clients send to them. Every command asks it; nobody else knows
// where files lie.
//
//   Owns     nothing in memory; the folder is the truth, so that two processes agree.
//   Threads  any; changes are renames, so a reader sees all of one or nothing.
//   Errors   not_found names what is there instead; invalid_argument for a bad name;
//            internal when the disk refuses.
//
//   ROOT/NAME/model.json, *.gguf     a model that was pulled or imported
//   ROOT/NAME.gguf                   a file that somebody put there
//   ROOT/aliases.json                {"claude-*": "qwen3-4b"}
//   ROOT/.partial/NAME/              unfinished; seen by nobody but `pull` and `import`
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct StoredFile {
  std::string name;
  std::uint64_t bytes = 0;
  std::string sha256;  // Empty: nobody said.
};

struct StoredModel {
  std::string name;
  std::string source;  // What it was pulled or imported from; empty: put there by hand.
  std::string licence;
  std::vector<StoredFile> files;  // The first is the one to load; the engine finds the others beside it.
  std::filesystem::path folder;

  std::string path() const { return (folder / files.front().name).string(); }
  std::uint64_t bytes() const;
};

class ModelStore {
 public:
  using Aliases = std::map<std::string, std::string>;

  explicit ModelStore(std::filesystem::path root) : root_(std::move(root)) {}

  // PENSIEVE_MODELS, else XDG_DATA_HOME/pensieve/models, else ~/.local/share/pensieve/models.
  static std::filesystem::path standard_root(const std::function<const char*(const char*)>& environment);
  static bool valid_name(const std::string& name);          // Lower-case letters, digits, ".", "_", "-"; at most 96.
  static std::string name_from(const std::string& text);    // The nearest valid name; empty: there is none.

  const std::filesystem::path& root() const { return root_; }
  std::vector<StoredModel> list() const;                     // By name; folders that are no models are left out.
  Result<StoredModel> find(const std::string& name) const;   // A model's name or an alias.
  Result<void> remove(const std::string& name);              // Not through an alias.

  // What `--model` means: a file's path if there is one, else a model's name or an alias.
  Result<std::string> resolve(const std::string& text) const;

  Result<Aliases> aliases() const;
  Result<void> set_alias(const std::string& pattern, const std::string& target);  // '*' in a pattern stands for any text.
  Result<void> remove_alias(const std::string& pattern);

  // Where an unfinished model is put together, and how it becomes visible: whole, by one rename.
  Result<std::filesystem::path> staging(const std::string& name) const;
  Result<StoredModel> publish(StoredModel model);

 private:
  std::filesystem::path root_;
};

// Does `text` match `pattern`, in which each '*' stands for any text?
bool matches_pattern(const std::string& pattern, const std::string& text);

}  // namespace pensieve
