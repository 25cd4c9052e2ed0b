// What can fail because of the outside world returns a Result: a value, or an
// Error that says in one sentence what went wrong. Nothing of ours throws.
//
//   Errors   an Error's code says what a caller may do about it; its message is
//            for a human and names the field, file or flag and what was expected.
//
// Result is a class and not a bare std::expected, because g++ 12 lets a bare
// expected be dropped in silence. Only this file names the real type.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace pensieve {

enum class ErrorCode {
  invalid_argument,   // The caller's input is wrong; the same input fails again.
  not_found,          // No such file, model, path.
  permission_denied,  // Known, but not allowed.
  too_large,          // More bytes than a stated limit.
  overloaded,         // No room now; room later.
  unavailable,        // The part that would do it is not up (yet).
  timeout,            // A stated deadline passed.
  cancelled,          // Whoever asked went away.
  corrupt,            // Data from disk or from a pipe is not what it should be.
  internal,           // Everything else that the outside can cause.
};

struct Error {
  ErrorCode code = ErrorCode::internal;
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::move(value)) {}                        // NOLINT(google-explicit-constructor)
  Result(Error error) : held_(std::unexpected(std::move(error))) {}   // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return held_.has_value(); }
  bool ok() const { return held_.has_value(); }
  T& operator*() & { return *held_; }
  const T& operator*() const& { return *held_; }
  T&& operator*() && { return std::move(*held_); }
  T* operator->() { return &*held_; }
  const T* operator->() const { return &*held_; }
  const Error& error() const& { return held_.error(); }
  Error&& error() && { return std::move(held_).error(); }

 private:
  std::expected<T, Error> held_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : held_(std::unexpected(std::move(error))) {}  // NOLINT(google-explicit-constructor)

  explicit operator bool() const { return held_.has_value(); }
  bool ok() const { return held_.has_value(); }
  const Error& error() const& { return held_.error(); }
  Error&& error() && { return std::move(held_).error(); }

 private:
  std::expected<void, Error> held_;
};

}  // namespace pensieve
