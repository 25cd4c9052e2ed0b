// Files as the block store needs them, behind an interface: the seam at which
// tests let a disk fill up, turn read-only or lose power.
//
//   Owns     a File its descriptor.
//   Threads  any; one File belongs to one thread at a time.
//   Errors   not_found; overloaded (no space, quota); permission_denied (also a
//            read-only file system); corrupt (the file is shorter than was asked);
//            internal for the rest. The message names the path.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

using FileTime = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

class File {
 public:
  virtual ~File() = default;
  virtual Result<void> append(std::span<const std::byte> bytes) = 0;
  virtual Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) = 0;  // All of `out`.
  virtual Result<void> sync() = 0;  // Its content survives a power loss; its name only with sync_folder().
};

struct FolderEntry {
  std::string name;
  bool folder = false;
  std::uint64_t bytes = 0;
  FileTime modified{};
};

class Files {
 public:
  virtual ~Files() = default;
  virtual Result<std::unique_ptr<File>> create(const std::string& path) = 0;  // Mode 0600, emptied if it was there.
  virtual Result<std::unique_ptr<File>> open(const std::string& path) = 0;    // For reading.
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> remove(const std::string& path) = 0;  // A file, or an empty folder. Absent is well.
  virtual Result<void> make_folder(const std::string& path) = 0;  // Mode 0700, with its parents. Present is well.
  virtual Result<void> sync_folder(const std::string& path) = 0;
  virtual Result<std::vector<FolderEntry>> list(const std::string& path) = 0;
  virtual Result<void> set_modified(const std::string& path, FileTime time) = 0;
  virtual Result<std::uint64_t> free_bytes(const std::string& path) = 0;
};

Files& real_files();

}  // namespace pensieve
