// The part of regular expressions that JSON Schema's `pattern` uses in practice,
// as a small tree: literals, classes, groups, alternatives, repetitions and the
// two anchors at the ends. From the tree come a grammar (json_schema_grammar) and
// a matcher here, which runs in time proportional to text times pattern, so a
// hostile pattern cannot stall anybody.
//
//   Owns     its tree.
//   Threads  any: values and pure functions.
//   Units    characters are code points.
//   Errors   invalid_argument: not a regular expression, or one with a look-around,
//            back-reference, \b, \p{...} or an inner anchor; too_large: nested or
//            repeated beyond what is sensible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace pensieve {

// Sorted, not touching, [first, last].
using CharacterSet = std::vector<std::pair<char32_t, char32_t>>;

CharacterSet complement(const CharacterSet& set);
bool contains(const CharacterSet& set, char32_t character);

struct Pattern {
  enum class Kind { set, sequence, choice, repeat };
  static constexpr int kUnbounded = -1;

  Kind kind = Kind::sequence;
  CharacterSet characters;     // set
  std::vector<Pattern> parts;  // sequence, choice; repeat: the one that is repeated
  int least = 0;               // repeat
  int most = kUnbounded;
};

struct ParsedPattern {
  Pattern tree;
  bool from_start = false;  // ^: nothing may stand before it.
  bool to_end = false;      // $
};

Result<ParsedPattern> parse_pattern(std::string_view source);
bool matches(const ParsedPattern& pattern, std::u32string_view text);

// UTF-8 to code points; ill-formed bytes become U+FFFD.
std::u32string code_points(std::string_view text);
void append_utf8(std::string& text, char32_t character);

}  // namespace pensieve
