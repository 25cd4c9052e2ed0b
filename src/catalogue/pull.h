// Brings a model from a hub or a plain address into the store: finds its files,
// looks at the disk, loads what is missing, checks every byte, and only then
// makes it visible.
//
//   Threads  one; blocks until done.
//   Errors   transfer's and hub's; invalid_argument also for what names no model;
//            too_large when the disk has no room; unavailable while another pull of
//            the same model runs. What was loaded before an error is kept and used
//            by the next try, unless it was wrong.
#pragma once

#include <functional>
#include <string>

#include "catalogue/model_store.h"
#include "catalogue/transfer.h"

namespace pensieve {

struct PullOptions {
  std::string what;    // A known name, hf:OWNER/REPO[:QUANT], or http(s)://...
  std::string name;    // What it shall be called; empty: derived.
  std::string sha256;  // Of a plain address, if known.
  std::string endpoint = "https://huggingface.co";
  TransferOptions transfer;
};

// A repository without GGUF but with a checkpoint is brought whole and handed to
// this, which makes a model of the name out of the folder (`pensieve import`).
using ImportFolder = std::function<Result<StoredModel>(const std::string& folder, const std::string& name, const std::string& source)>;

struct PullProgress {
  std::string file;
  std::size_t number = 0;  // From 1.
  std::size_t count = 0;
  TransferProgress of_file;
};

struct Pulled {
  StoredModel model;
  bool was_there = false;  // Nothing had to be done.
  bool checked = true;     // False: nobody gave a hash, only size and header were looked at.
};

Result<Pulled> pull_model(ModelStore& store, const PullOptions& options, const std::function<void(const PullProgress&)>& on_progress,
                          const ImportFolder& import = {});

}  // namespace pensieve
