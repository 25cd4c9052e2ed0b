#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/errno_text.h"
#include "platform/files.h"

namespace pensieve {
namespace {

Error failed(const char* what, const std::string& path) {
  const int code = errno;
  ErrorCode kind = ErrorCode::internal;
  if (code == ENOENT) kind = ErrorCode::not_found;
  else if (code == ENOSPC || code == EDQUOT || code == EFBIG) kind = ErrorCode::overloaded;
  else if (code == EROFS || code == EACCES || code == EPERM) kind = ErrorCode::permission_denied;
  return {kind, fmt::format("{} '{}': {}", what, path, errno_text(code))};
}

#ifdef __APPLE__
FileTime modified_of(const struct stat& status) { return FileTime(std::chrono::seconds(status.st_mtimespec.tv_sec) + std::chrono::nanoseconds(status.st_mtimespec.tv_nsec)); }
#else
FileTime modified_of(const struct stat& status) { return FileTime(std::chrono::seconds(status.st_mtim.tv_sec) + std::chrono::nanoseconds(status.st_mtim.tv_nsec)); }
#endif

class PosixFile final : public File {
 public:
  PosixFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~PosixFile() override { ::close(fd_); }
  PosixFile(const PosixFile&) = delete;
  PosixFile& operator=(const PosixFile&) = delete;

  Result<void> append(std::span<const std::byte> bytes) override {
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return failed("write", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
    return {};
  }

  Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) override {
    while (!out.empty()) {
      const ssize_t taken = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (taken < 0 && errno == EINTR) continue;
      if (taken < 0) return failed("read", path_);
      if (taken == 0) return Error{ErrorCode::corrupt, fmt::format("'{}' is shorter than it should be", path_)};
      out = out.subspan(static_cast<std::size_t>(taken));
      offset += static_cast<std::uint64_t>(taken);
    }
    return {};
  }

  Result<void> sync() override {
#ifdef __APPLE__
    const int code = ::fcntl(fd_, F_FULLFSYNC);
#else
    const int code = ::fdatasync(fd_);
#endif
    if (code != 0) return failed("sync", path_);
    return {};
  }

 private:
  int fd_;
  std::string path_;
};

class PosixFiles final : public Files {
 public:
  Result<std::unique_ptr<File>> create(const std::string& path) override { return opened(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, "create"); }
  Result<std::unique_ptr<File>> open(const std::string& path) override { return opened(path, O_RDONLY | O_CLOEXEC, "open"); }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (std::rename(from.c_str(), to.c_str()) != 0) return failed("rename", from);
    return {};
  }
  Result<void> remove(const std::string& path) override {
    if (std::remove(path.c_str()) != 0 && errno != ENOENT) return failed("remove", path);
    return {};
  }
  Result<void> make_folder(const std::string& path) override {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) return {};
    const auto parent = std::filesystem::path(path).parent_path();
    if (!parent.empty() && parent != path && !std::filesystem::exists(parent, error)) {
      if (Result<void> made = make_folder(parent.string()); !made) return made;
    }
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return failed("make folder", path);
    return {};
  }
  Result<void> sync_folder(const std::string& path) override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return failed("open folder", path);
    const int code = ::fsync(fd);
    const Error problem = code == 0 ? Error{} : failed("sync folder", path);
    ::close(fd);
    if (code != 0) return problem;
    return {};
  }
  Result<std::vector<FolderEntry>> list(const std::string& path) override {
    DIR* folder = ::opendir(path.c_str());
    if (folder == nullptr) return failed("list", path);
    std::vector<FolderEntry> entries;
    while (const dirent* entry = ::readdir(folder)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct stat status {};
      if (::fstatat(::dirfd(folder), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;  // Gone meanwhile.
      entries.push_back({name, S_ISDIR(status.st_mode), static_cast<std::uint64_t>(status.st_size), modified_of(status)});
    }
    ::closedir(folder);
    return entries;
  }
  Result<void> set_modified(const std::string& path, FileTime time) override {
    const auto since = time.time_since_epoch();
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since);
    const timespec at{static_cast<time_t>(whole.count()), static_cast<long>((since - whole).count())};
    const timespec times[] = {at, at};
    if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return failed("touch", path);
    return {};
  }
  Result<std::uint64_t> free_bytes(const std::string& path) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) return failed("free space of", path);
    return static_cast<std::uint64_t>(status.f_bavail) * static_cast<std::uint64_t>(status.f_frsize);
  }

 private:
  static Result<std::unique_ptr<File>> opened(const std::string& path, int flags, const char* what) {
    const int fd = ::open(path.c_str(), flags, 0600);
    if (fd < 0) return failed(what, path);
    return std::unique_ptr<File>(std::make_unique<PosixFile>(fd, path));
  }
};

}  // namespace

Files& real_files() {
  static PosixFiles files;
  return files;
}

}  // namespace pensieve
