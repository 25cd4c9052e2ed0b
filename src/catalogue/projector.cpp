#include "catalogue/projector.h"

#include <filesystem>
#include <vector>

namespace pensieve {

std::string projector_beside(const std::string& model_path) {
  namespace fs = std::filesystem;
  const fs::path model(model_path);
  if (model.extension() != ".gguf") return {};
  const fs::path folder = model.has_parent_path() ? model.parent_path() : fs::path(".");
  const std::string name = model.stem().string();
  std::error_code ignored;
  for (const std::string& candidate : {"mmproj-" + name + ".gguf", name + "-mmproj.gguf", name + ".mmproj.gguf"}) {
    if (const fs::path path = folder / candidate; fs::is_regular_file(path, ignored)) return path.string();
  }
  std::vector<std::string> projectors;
  std::size_t models = 0;
  for (auto entry = fs::directory_iterator(folder, ignored); entry != fs::directory_iterator(); entry.increment(ignored)) {
    if (entry->path().extension() != ".gguf") continue;
    if (entry->path().filename().string().find("mmproj") != std::string::npos) projectors.push_back(entry->path().string());
    else ++models;
  }
  return projectors.size() == 1 && models == 1 ? projectors.front() : std::string();
}

}  // namespace pensieve
