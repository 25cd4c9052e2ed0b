#include "cache/model_identity.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/errno_text.h"
#include "cache/checksum.h"

namespace pensieve {
namespace {

constexpr std::size_t kReadBytes = 4u << 20;

}  // namespace

Result<BlockKey> model_identity(Files& files, const std::string& model_path, const std::string& store_folder) {
  struct stat status {};
  if (::stat(model_path.c_str(), &status) != 0) return Error{ErrorCode::not_found, fmt::format("'{}': {}", model_path, errno_text())};
#ifdef __APPLE__
  const auto changed = status.st_ctimespec, modified = status.st_mtimespec;
#else
  const auto changed = status.st_ctim, modified = status.st_mtim;
#endif
  // The time of change (ctime) cannot be set by a program, so an edited file never looks unedited.
  const std::string folder = store_folder + "/models";
  const std::string note = fmt::format("{}/{:x}-{:x}-{:x}-{:x}.{:x}-{:x}.{:x}", folder, status.st_dev, status.st_ino, status.st_size, modified.tv_sec,
                                       modified.tv_nsec, changed.tv_sec, changed.tv_nsec);
  BlockKey key;
  if (auto file = files.open(note); file && (*file)->read_at(0, std::as_writable_bytes(std::span(&key, 1)))) return key;

  auto model = files.open(model_path);
  if (!model) return std::move(model).error();
  Checksum128 checksum;
  std::vector<std::byte> buffer;
  auto left = static_cast<std::uint64_t>(status.st_size);
  for (std::uint64_t at = 0; left > 0; at += buffer.size(), left -= buffer.size()) {
    buffer.resize(std::min<std::uint64_t>(left, kReadBytes));
    if (Result<void> read = (*model)->read_at(at, buffer); !read) return std::move(read).error();
    checksum.add(buffer);
  }
  key = checksum.value();
  if (files.make_folder(folder)) {
    auto file = files.create(note + ".new");
    if (file && (*file)->append(std::as_bytes(std::span(&key, 1)))) (void)files.rename(note + ".new", note);
  }
  return key;
}

}  // namespace pensieve
