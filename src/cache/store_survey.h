// Looks at a store's folder from outside, while a server may be using it: what is
// there, for which models, and whether it is whole. For `pensieve store`.
//
//   Threads  any.
//   Errors   not_found when there is no such folder; those of the disk.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cache/block_key.h"
#include "platform/files.h"

namespace pensieve {

struct StoreFolder {  // One model, engine and mode.
  BlockKey fingerprint;
  std::string about;  // about.json as it is; empty when it is not there.
  std::uint64_t blocks = 0;
  std::uint64_t bytes = 0;
  FileTime used{};    // Last; in the future: pinned until then.
};

struct StoreSurvey {
  std::vector<StoreFolder> folders;  // Used last first.
  std::uint64_t set_aside = 0;
};

Result<StoreSurvey> survey_store(Files& files, const std::string& folder);

// Reads every byte of every block. `on_block(path, problem)`: problem empty when it is whole.
Result<void> verify_store(Files& files, const std::string& folder, const std::function<void(const std::string& path, const std::string& problem)>& on_block);

// Removes all blocks (of one fingerprint, if given), and what was set aside. Returns how many files went.
Result<std::uint64_t> purge_store(Files& files, const std::string& folder, const std::optional<BlockKey>& only);

}  // namespace pensieve
