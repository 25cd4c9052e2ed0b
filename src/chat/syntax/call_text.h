// What the families' parsers share: walking over JSON in unfinished text, and
// turning what models write into a call with a valid JSON object.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chat/syntax/tool_syntax.h"

namespace pensieve::call_text {

using State = CallScan::State;

inline CallScan incomplete() { return {}; }
inline CallScan malformed() { return {State::malformed, 0, {}}; }
inline CallScan complete(std::size_t bytes, std::vector<ParsedCall> calls) { return {State::complete, bytes, std::move(calls)}; }

std::size_t skip_space(std::string_view text, std::size_t at);

// Whether text[at..] begins with `word`: complete; may still become it: incomplete.
State word_at(std::string_view text, std::size_t at, std::string_view word);

// Where a value that stands as it is ends: at a `close` that one of `followers` comes after, for
// the value may be a text that speaks of such marks. npos: not yet.
std::size_t end_of_value(std::string_view text, std::size_t at, std::string_view close, std::span<const std::string_view> followers, bool ended);

// Walks over the JSON object or array that begins at `at`, by its brackets and
// strings. complete: `end` is behind it.
State skip_json(std::string_view text, std::size_t at, std::size_t& end);

bool good_name(std::string_view name);  // As the API demands: 1 to 128 of A-Z a-z 0-9 _ -.

// The JSON object in `text` as valid, compact JSON; accepts raw line breaks inside
// strings, a string that holds the object, and nothing at all ("{}"). nullopt: no object.
std::optional<std::string> object_text(std::string_view text);

// {"name": ..., "arguments" or "parameters": {...}}, and its common variants.
std::optional<ParsedCall> call_of(std::string_view json_object);
// One such object, or an array of them.
std::optional<std::vector<ParsedCall>> calls_of(std::string_view json);

// Builds an input from parameters that were written one by one.
class InputBuilder {
 public:
  InputBuilder();
  ~InputBuilder();
  InputBuilder(const InputBuilder&) = delete;
  InputBuilder& operator=(const InputBuilder&) = delete;
  // `value` is text when `is_text`; else JSON, and text where it is no JSON.
  void add(std::string_view key, std::string_view value, bool is_text);
  std::string text() const;

 private:
  struct Object;
  std::unique_ptr<Object> object_;
};

// name(key=value, ...) in Python's spelling, from `at`. complete: `end` is behind the bracket.
State python_call(std::string_view text, std::size_t at, std::size_t& end, ParsedCall& call);

std::string quoted(std::string_view text);  // As a JSON string.

}  // namespace pensieve::call_text
