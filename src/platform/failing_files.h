// For tests: the real files, of which the Nth call fails, so that a test can go through
// every N until nothing fails any more.
//
//   Threads  any.
#pragma once

#include <atomic>
#include <initializer_list>

#include "base/check.h"
#include "platform/files.h"

namespace pensieve {

// The real files, until the Nth call of any kind: that one and those after it fail.
class FailingFiles final : public Files {
 public:
  std::atomic<int> calls = 0;  // The store calls from two threads.
  std::atomic<int> fail_from = 1 << 30;
  std::atomic<int> fail_to = 1 << 30;
  std::atomic<ErrorCode> how = ErrorCode::overloaded;

  bool met() const { return calls >= fail_from; }  // A call has failed.

  Result<void> may() {
    ++calls;
    if (calls >= fail_from && calls < fail_to) return Error{how, "the test says so"};
    return {};
  }
  template <typename Call>
  auto through(const Call& call) -> decltype(call()) {
    if (Result<void> allowed = may(); !allowed) return std::move(allowed).error();
    return call();
  }

  struct Wrapped final : File {
    Wrapped(FailingFiles& by, std::unique_ptr<File> real) : files(by), file(std::move(real)) {}
    Result<void> append(std::span<const std::byte> bytes) override {
      // A disk that fills up takes a part of the bytes first.
      if (Result<void> allowed = files.may(); !allowed) {
        (void)file->append(bytes.first(bytes.size() / 2));
        return allowed;
      }
      return file->append(bytes);
    }
    Result<void> read_at(std::uint64_t offset, std::span<std::byte> out) override {
      return files.through([&] { return file->read_at(offset, out); });
    }
    Result<void> sync() override {
      return files.may();  // What a real sync does is not seen here, and it takes its time.
    }
    FailingFiles& files;
    std::unique_ptr<File> file;
  };
  Result<std::unique_ptr<File>> wrap(Result<std::unique_ptr<File>> file) {
    if (!file) return file;
    return std::unique_ptr<File>(std::make_unique<Wrapped>(*this, *std::move(file)));
  }

  Result<std::unique_ptr<File>> create(const std::string& path) override {
    return through([&] { return wrap(real_files().create(path)); });
  }
  Result<std::unique_ptr<File>> open(const std::string& path) override {
    return through([&] { return wrap(real_files().open(path)); });
  }
  Result<void> rename(const std::string& from, const std::string& to) override {
    return through([&] { return real_files().rename(from, to); });
  }
  Result<void> remove(const std::string& path) override {
    return through([&] { return real_files().remove(path); });
  }
  Result<void> make_folder(const std::string& path) override {
    return through([&] { return real_files().make_folder(path); });
  }
  Result<void> sync_folder(const std::string& path) override {
    (void)path;
    return may();
  }
  Result<std::vector<FolderEntry>> list(const std::string& path) override {
    return through([&] { return real_files().list(path); });
  }
  Result<void> set_modified(const std::string& path, FileTime time) override {
    return through([&] { return real_files().set_modified(path, time); });
  }
  Result<std::uint64_t> free_bytes(const std::string& path) override {
    return through([&] { return real_files().free_bytes(path); });
  }
};

// Calls run(files, nth) for n = 1, 2, ... until none of its calls is the one that fails: with that call alone
// failing and with all from it on, in each of the `ways`. A run makes fewer than `calls_max`.
template <typename Run>
void with_every_call_failing(std::initializer_list<ErrorCode> ways, int calls_max, const Run& run) {
  for (const bool once : {true, false}) {
    for (const ErrorCode how : ways) {
      bool met = true;
      for (int nth = 1; met; ++nth) {
        CHECK(nth < calls_max, "a run gets through in the end");
        FailingFiles files;
        files.fail_from = nth;
        files.fail_to = once ? nth + 1 : 1 << 30;
        files.how = how;
        run(files, nth);
        met = files.met();
      }
    }
  }
}

}  // namespace pensieve
