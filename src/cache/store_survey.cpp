#include "cache/store_survey.h"

#include <algorithm>

#include "cache/block_file.h"

namespace pensieve {
namespace {

constexpr std::size_t kAboutBytesMax = 64u << 10;

std::string text_of(Files& files, const std::string& path, std::uint64_t bytes) {
  std::string text(std::min<std::uint64_t>(bytes, kAboutBytesMax), '\0');
  auto file = files.open(path);
  if (!file || !(*file)->read_at(0, std::as_writable_bytes(std::span(text)))) return {};
  return text;
}

bool is_block(const std::string& name) { return name.ends_with(".kv") || name.ends_with(".state"); }

}  // namespace

Result<StoreSurvey> survey_store(Files& files, const std::string& folder) {
  const auto entries = files.list(folder);
  if (!entries) return entries.error();
  StoreSurvey survey;
  for (const FolderEntry& entry : *entries) {
    const std::string path = folder + "/" + entry.name;
    const auto inside = entry.folder ? files.list(path) : Result<std::vector<FolderEntry>>(std::vector<FolderEntry>());
    if (!inside) continue;  // Gone meanwhile.
    if (entry.name == "set_aside") survey.set_aside = inside->size();
    const auto key = parse_key(entry.name);
    if (!key) continue;
    StoreFolder found;
    found.fingerprint = *key;
    for (const FolderEntry& file : *inside) {
      if (file.name == "about.json") found.about = text_of(files, path + "/" + file.name, file.bytes);
      if (!is_block(file.name)) continue;
      ++found.blocks;
      found.bytes += file.bytes;
      found.used = std::max(found.used, file.modified);
    }
    survey.folders.push_back(std::move(found));
  }
  std::ranges::sort(survey.folders, std::greater(), &StoreFolder::used);
  return survey;
}

Result<void> verify_store(Files& files, const std::string& folder, const std::function<void(const std::string& path, const std::string& problem)>& on_block) {
  const auto entries = files.list(folder);
  if (!entries) return entries.error();
  for (const FolderEntry& entry : *entries) {
    if (!entry.folder || !parse_key(entry.name)) continue;
    const auto blocks = files.list(folder + "/" + entry.name);
    if (!blocks) continue;
    for (const FolderEntry& block : *blocks) {
      if (!is_block(block.name)) continue;
      const std::string path = folder + "/" + entry.name + "/" + block.name;
      auto file = files.open(path);
      if (!file && file.error().code == ErrorCode::not_found) continue;  // Evicted meanwhile.
      auto reader = file ? BlockReader::open(*std::move(file)) : Result<BlockReader>(file.error());
      std::string problem = reader ? std::string() : reader.error().message;
      if (reader && !block.name.starts_with(hex(reader->head().key))) problem = "it holds another block than its name says";
      if (problem.empty()) {
        if (const Result<void> whole = reader->verify(); !whole) problem = whole.error().message;
      }
      on_block(path, problem);
    }
  }
  return {};
}

Result<std::uint64_t> purge_store(Files& files, const std::string& folder, const std::optional<BlockKey>& only) {
  const auto entries = files.list(folder);
  if (!entries) return entries.error();
  std::uint64_t removed = 0;
  for (const FolderEntry& entry : *entries) {
    const auto key = parse_key(entry.name);
    const bool wanted = key ? !only || *only == *key : entry.name == "set_aside" && !only;
    if (!entry.folder || !wanted) continue;
    const std::string path = folder + "/" + entry.name;
    const auto inside = files.list(path);
    if (!inside) continue;
    for (const FolderEntry& file : *inside) {
      if (Result<void> gone = files.remove(path + "/" + file.name); !gone) return std::move(gone).error();
      if (is_block(file.name)) ++removed;
    }
    (void)files.remove(path);  // A server that runs may have written a new block meanwhile.
  }
  return removed;
}

}  // namespace pensieve
