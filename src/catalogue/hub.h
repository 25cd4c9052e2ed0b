// What a model hub of Hugging Face's layout says, and which of a repository's
// files a pull means. Pure functions of text; the network is elsewhere.
//
//   Errors   invalid_argument: the reference is none, or names no or several files
//            (they are listed); corrupt: the hub's answer is not what it should be.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct HubReference {  // hf:OWNER/REPO[:QUANT]
  std::string repository;
  std::string quantisation;  // Empty: the usual one.
};
Result<HubReference> parse_hub_reference(const std::string& text);

struct HubFile {
  std::string path;  // In the repository; checked: no "..", no absolute path, no control characters.
  std::uint64_t bytes = 0;
  std::string sha256;    // Of large files; else empty.
  std::string git_hash;  // Of small ones.
  std::string name() const;  // Without its folders.
};

// One page of /api/models/OWNER/REPO/tree/main?recursive=true.
Result<std::vector<HubFile>> parse_hub_tree(const std::string& json);

struct HubSelection {
  std::vector<HubFile> files;  // The parts of a split model in order.
  std::string quantisation;    // As its name says; may be empty.
};
Result<HubSelection> select_files(const std::vector<HubFile>& files, const std::string& quantisation);

// Of a repository without GGUF: what an import reads (config.json, tokenizer, *.safetensors of its top folder). Empty: it
// is no such checkpoint.
std::vector<HubFile> checkpoint_files(const std::vector<HubFile>& files);

std::string tree_url(const std::string& endpoint, const std::string& repository);
std::string file_url(const std::string& endpoint, const std::string& repository, const std::string& path);

// The next page in a Link header; empty: this was the last.
std::string next_page(const std::string& link_header);

}  // namespace pensieve
