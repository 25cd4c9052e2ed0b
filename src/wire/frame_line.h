// One line of the wire as a JSON object: how its fields are read and written, and what
// commands and reports have in common. For the files of this folder only.
//
//   Threads  any: no state but the Reader's own.
//   Errors   a Reader keeps the first complaint, naming the field and what was expected.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wire/frames.h"

namespace pensieve::wire {

using Json = nlohmann::json;

// ---- reading ----

// Reads fields out of one object and keeps the first complaint, so that a parser
// reads as a list of its fields.
class Reader {
 public:
  explicit Reader(const Json& object) : object_(object) {}

  bool failed() const { return error_.has_value(); }
  Error take_error() { return *std::move(error_); }
  void fail(std::string_view field, std::string_view expected) {
    if (!error_) error_ = Error{ErrorCode::invalid_argument, fmt::format("{}: expected {}", field, expected)};
  }

  const Json* find(const char* field) const {
    const auto found = object_.find(field);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::string text(const char* field, bool required = false) {
    const Json* value = find(field);
    if (value != nullptr && value->is_string()) return value->get<std::string>();
    if (value != nullptr || required) fail(field, "a string");
    return {};
  }

  std::vector<std::string> texts(const char* field) {
    std::vector<std::string> list;
    const Json* value = find(field);
    if (value == nullptr) return list;
    if (!value->is_array()) {
      fail(field, "an array of strings");
      return list;
    }
    for (const Json& element : *value) {
      if (element.is_string()) list.push_back(element.get<std::string>());
      else fail(field, "an array of strings");
    }
    return list;
  }

  bool boolean(const char* field) {
    const Json* value = find(field);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(field, "true or false");
    return value->is_boolean() && value->get<bool>();
  }

  template <typename Int>
  std::optional<Int> integer(const char* field, bool required = false) {
    const Json* value = find(field);
    if (value == nullptr) {
      if (required) fail(field, "an integer");
      return std::nullopt;
    }
    const auto number = as_integer<Int>(*value);
    if (!number) fail(field, fmt::format("an integer from {} to {}", std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max()));
    return number;
  }

  std::optional<float> number(const char* field) {
    const Json* value = find(field);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) {
      fail(field, "a number");
      return std::nullopt;
    }
    return value->get<float>();
  }

  std::int64_t sampled_us() { return integer<std::int64_t>("sampled_us").value_or(0); }
  RequestId id() { return RequestId{integer<std::uint64_t>("id", true).value_or(0)}; }

  std::vector<TokenId> tokens(const char* field) {
    const Json* value = find(field);
    return value == nullptr ? std::vector<TokenId>() : tokens_in(*value, field);
  }

  std::vector<TokenId> tokens_in(const Json& value, const char* field) {
    std::vector<TokenId> ids;
    if (!value.is_array()) {
      fail(field, "an array of token ids");
      return ids;
    }
    ids.reserve(value.size());
    for (const Json& element : value) {
      const auto token = as_integer<TokenId>(element);
      if (!token) {
        fail(field, "an array of token ids");
        return {};
      }
      ids.push_back(*token);
    }
    return ids;
  }

  // Each a text or an array of token ids.
  std::vector<EmbedInput> inputs(const char* field) {
    std::vector<EmbedInput> list;
    const Json* value = find(field);
    if (value == nullptr) return list;
    if (!value->is_array()) {
      fail(field, "an array of texts and arrays of token ids");
      return list;
    }
    for (const Json& element : *value) {
      if (element.is_string()) list.push_back({element.get<std::string>(), {}});
      else list.push_back({{}, tokens_in(element, field)});
    }
    return list;
  }

  template <typename Int>
  static std::optional<Int> as_integer(const Json& value) {
    if (value.is_number_unsigned()) {
      const auto number = value.get<std::uint64_t>();
      if (number > static_cast<std::uint64_t>(std::numeric_limits<Int>::max())) return std::nullopt;
      return static_cast<Int>(number);
    }
    if (!value.is_number_integer()) return std::nullopt;
    const auto number = value.get<std::int64_t>();
    if constexpr (std::is_unsigned_v<Int>) return std::nullopt;  // Negative, or it had been unsigned above.
    else if (number < std::numeric_limits<Int>::min()) return std::nullopt;
    return static_cast<Int>(number);
  }

 private:
  const Json& object_;
  std::optional<Error> error_;
};

Result<Json> parse_object(std::string_view line);
Error read_error(Reader& reader);

// ---- writing ----

std::string line_of(const Json& object);
Json json_of(const Error& error);
inline Json json_of(const EmbedInput& input) { return input.tokens.empty() ? Json(input.text) : Json(input.tokens); }
inline std::uint64_t number_of(RequestId id) { return static_cast<std::uint64_t>(id); }

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

// ---- words for values: tables of pairs, the word first ----

template <typename Table, typename Value>
const char* spelled(const Table& table, Value value) {
  for (const auto& [name, entry] : table) {
    if (entry == value) return name;
  }
  return "";
}

template <typename Value, typename Table>
std::optional<Value> meant(const Table& table, const std::string& text) {
  for (const auto& [name, entry] : table) {
    if (text == name) return entry;
  }
  return std::nullopt;
}

}  // namespace pensieve::wire
