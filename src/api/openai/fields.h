// Reading the fields of a request body, for this folder's parsers only: it brings the JSON library.
//
//   Threads  one; plain state.
//   Errors   the first complaint is kept: invalid_argument, beginning with the field's path.
#pragma once

#include <fmt/format.h>

#include <climits>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace pensieve::openai {

using Json = nlohmann::ordered_json;  // Schemas keep the order of their properties.

inline Error wrong(std::string_view field, std::string_view expected) { return {ErrorCode::invalid_argument, fmt::format("{}: {}", field, expected)}; }

// Reads fields and keeps the first complaint, so that a parser reads as a list of its fields.
class Fields {
 public:
  Fields(const Json& object, std::string place) : object_(object), place_(std::move(place)) {}

  std::string path(std::string_view field) const { return place_.empty() ? std::string(field) : fmt::format("{}.{}", place_, field); }
  void fail(std::string_view field, std::string_view expected) {
    if (!error_) error_ = wrong(path(field), expected);
  }
  void take_over(const Fields& inner) {
    if (!error_) error_ = inner.error_;
  }
  bool failed() const { return error_.has_value(); }
  Error error() const { return *error_; }

  const Json* find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  std::string text(const char* field, bool required = false) {
    const Json* value = find(field);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    if (value != nullptr || required) fail(field, value == nullptr ? "field required" : "must be a string");
    return {};
  }
  std::string model() {
    std::string name = text("model", true);
    if (name.empty()) fail("model", "must be a non-empty string");
    if (name.size() > 256) fail("model", "must have at most 256 characters");
    return name;
  }
  bool boolean(const char* field, bool standard = false) {
    const Json* value = find(field);
    if (value == nullptr) return standard;
    if (!value->is_boolean()) fail(field, "must be true or false");
    return value->is_boolean() && value->get<bool>();
  }
  std::optional<float> number(const char* field, double low, double high) {
    const Json* value = find(field);
    if (value == nullptr) return std::nullopt;
    const double number = value->is_number() ? value->get<double>() : std::nan("");
    if (!(number >= low && number <= high)) {
      fail(field, fmt::format("must be a number from {} to {}", low, high));
      return std::nullopt;
    }
    return static_cast<float>(number);
  }
  std::optional<std::int64_t> integer(const char* field, std::int64_t low) {
    const Json* value = find(field);
    if (value == nullptr) return std::nullopt;
    const bool fits = value->is_number_integer() && (!value->is_number_unsigned() || value->get<std::uint64_t>() <= INT64_MAX);
    if (!fits || value->get<std::int64_t>() < low) {
      fail(field, fmt::format("must be an integer of at least {}", low));
      return std::nullopt;
    }
    return value->get<std::int64_t>();
  }
  // Fields that ask for something that is not there; their harmless values pass.
  void only(const char* field, const Json& harmless, std::string_view why) {
    const Json* value = find(field);
    if (value != nullptr && *value != harmless && !(value->is_structured() && value->empty())) fail(field, why);
  }

 private:
  const Json& object_;
  std::string place_;
  std::optional<Error> error_;
};

}  // namespace pensieve::openai
