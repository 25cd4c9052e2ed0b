#include "chat/pattern.h"

#include <fmt/format.h>

#include <algorithm>

namespace pensieve {
namespace {

constexpr int kDepthMax = 32;
constexpr int kRepeatMax = 1000;        // Of one quantifier.
constexpr std::size_t kStatesMax = 20000;  // Of the whole pattern, written out.
constexpr std::size_t kSourceBytesMax = 4096;

Error unsupported(std::string_view what) { return {ErrorCode::invalid_argument, fmt::format("the pattern uses {}, which is not supported", what)}; }
Error malformed(std::string_view what) { return {ErrorCode::invalid_argument, fmt::format("the pattern is no regular expression: {}", what)}; }

CharacterSet normalised(CharacterSet set) {
  std::ranges::sort(set);
  CharacterSet merged;
  for (const auto& [first, last] : set) {
    if (!merged.empty() && first <= merged.back().second + 1) merged.back().second = std::max(merged.back().second, last);
    else merged.emplace_back(first, last);
  }
  return merged;
}

CharacterSet class_of(char32_t letter) {
  switch (letter) {
    case U'd': return {{U'0', U'9'}};
    case U'w': return {{U'0', U'9'}, {U'A', U'Z'}, {U'_', U'_'}, {U'a', U'z'}};
    case U's': return {{0x09, 0x0D}, {U' ', U' '}, {0xA0, 0xA0}, {0x2028, 0x2029}};
    default: return {};
  }
}

int hex_value(char32_t c) {
  if (c >= U'0' && c <= U'9') return static_cast<int>(c - U'0');
  if (c >= U'a' && c <= U'f') return static_cast<int>(c - U'a') + 10;
  if (c >= U'A' && c <= U'F') return static_cast<int>(c - U'A') + 10;
  return -1;
}

// Recursive descent; the depth is bounded.
class Parser {
 public:
  explicit Parser(std::u32string_view source) : source_(source) {}

  Result<ParsedPattern> whole() {
    ParsedPattern parsed;
    // Anchors count only where they bind the whole: with alternatives at the top, ^a|b anchors a alone.
    if (!done() && peek() == U'^') {
      ++at_;
      parsed.from_start = true;
    }
    if (ends_in_dollar()) {
      source_.remove_suffix(1);
      parsed.to_end = true;
    }
    auto tree = choice(0);
    if (!tree) return std::move(tree).error();
    if (!done()) return malformed("a ) without its (");
    if (tree->kind == Pattern::Kind::choice && (parsed.from_start || parsed.to_end)) return unsupported("an anchor that binds only one of its alternatives");
    parsed.tree = *std::move(tree);
    return parsed;
  }

 private:
  bool done() const { return at_ == source_.size(); }
  char32_t peek() const { return source_[at_]; }
  bool take(char32_t wanted) {
    if (done() || peek() != wanted) return false;
    ++at_;
    return true;
  }
  bool ends_in_dollar() const {
    if (source_.size() <= at_ || source_.back() != U'$') return false;
    std::size_t escapes = 0;
    while (escapes + 1 < source_.size() && source_[source_.size() - 2 - escapes] == U'\\') ++escapes;
    return escapes % 2 == 0;
  }

  Result<Pattern> choice(int depth) {
    if (depth > kDepthMax) return Error{ErrorCode::too_large, "the pattern is nested too deeply"};
    Pattern all;
    all.kind = Pattern::Kind::choice;
    do {
      auto part = sequence(depth);
      if (!part) return std::move(part).error();
      all.parts.push_back(*std::move(part));
    } while (take(U'|'));
    if (all.parts.size() == 1) {
      Pattern only = std::move(all.parts.front());
      return only;
    }
    return all;
  }

  Result<Pattern> sequence(int depth) {
    Pattern all;
    while (!done() && peek() != U'|' && peek() != U')') {
      auto part = atom(depth);
      if (!part) return std::move(part).error();
      auto repeated = quantified(*std::move(part));
      if (!repeated) return std::move(repeated).error();
      all.parts.push_back(*std::move(repeated));
    }
    return all;
  }

  Result<Pattern> atom(int depth) {
    const char32_t c = source_[at_++];
    switch (c) {
      case U'(': {
        if (take(U'?')) {
          if (take(U'<')) {
            if (!done() && (peek() == U'=' || peek() == U'!')) return unsupported("a look-behind");
            while (!done() && peek() != U'>') ++at_;  // A named group.
            if (!take(U'>')) return malformed("a group name without its >");
          } else if (!take(U':')) {
            return unsupported("a look-ahead or a flag");
          }
        }
        auto inner = choice(depth + 1);
        if (!inner) return std::move(inner).error();
        if (!take(U')')) return malformed("a ( without its )");
        return inner;
      }
      case U'[': return bracket();
      case U'.': return set_of(complement({{U'\n', U'\n'}, {U'\r', U'\r'}, {0x2028, 0x2029}}));
      case U'\\': return escape();
      case U'^': case U'$': return unsupported("an anchor inside");
      case U'*': case U'+': case U'?': return malformed("nothing to repeat");
      default: return set_of({{c, c}});
    }
  }

  static Pattern set_of(CharacterSet set) {
    Pattern made;
    made.kind = Pattern::Kind::set;
    made.characters = std::move(set);
    return made;
  }

  Result<Pattern> escape() {
    auto set = escaped_set();
    if (!set) return std::move(set).error();
    return set_of(*std::move(set));
  }

  // After the backslash.
  Result<CharacterSet> escaped_set() {
    if (done()) return malformed("a \\ at the end");
    const char32_t c = source_[at_++];
    switch (c) {
      case U'd': case U'w': case U's': return class_of(c);
      case U'D': case U'W': case U'S': return complement(class_of(c + 32));
      case U'n': return CharacterSet{{U'\n', U'\n'}};
      case U't': return CharacterSet{{U'\t', U'\t'}};
      case U'r': return CharacterSet{{U'\r', U'\r'}};
      case U'f': return CharacterSet{{U'\f', U'\f'}};
      case U'v': return CharacterSet{{U'\v', U'\v'}};
      case U'x': return hex(2);
      case U'u': return hex(4);
      default: break;
    }
    if ((c >= U'a' && c <= U'z') || (c >= U'A' && c <= U'Z') || (c >= U'0' && c <= U'9')) {
      std::string name = "\\";
      append_utf8(name, c);
      return unsupported(name);
    }
    return CharacterSet{{c, c}};
  }

  Result<CharacterSet> hex(int digits) {
    char32_t value = 0;
    for (int i = 0; i < digits; ++i) {
      const int digit = done() ? -1 : hex_value(source_[at_++]);
      if (digit < 0) return malformed("a \\x or \\u without its digits");
      value = value * 16 + static_cast<char32_t>(digit);
    }
    if (value >= 0xD800 && value <= 0xDFFF) return unsupported("half of a surrogate pair");
    return CharacterSet{{value, value}};
  }

  Result<Pattern> bracket() {
    const bool negated = take(U'^');
    CharacterSet set;
    bool first = true;
    while (true) {
      if (done()) return malformed("a [ without its ]");
      if (peek() == U']' && !first) break;
      first = false;
      auto low = bracket_item();
      if (!low) return std::move(low).error();
      const bool single = low->size() == 1 && low->front().first == low->front().second;
      if (single && at_ + 1 < source_.size() && peek() == U'-' && source_[at_ + 1] != U']') {
        ++at_;
        auto high = bracket_item();
        if (!high) return std::move(high).error();
        if (high->size() != 1 || high->front().first < low->front().first) return malformed("a range in [ ] that runs backwards");
        set.emplace_back(low->front().first, high->front().second);
      } else {
        set.insert(set.end(), low->begin(), low->end());
      }
    }
    ++at_;
    set = normalised(std::move(set));
    return set_of(negated ? complement(set) : std::move(set));
  }

  Result<CharacterSet> bracket_item() {
    if (done()) return malformed("a [ without its ]");
    const char32_t c = source_[at_++];
    if (c != U'\\') return CharacterSet{{c, c}};
    if (take(U'b')) return CharacterSet{{0x08, 0x08}};
    return escaped_set();
  }

  Result<Pattern> quantified(Pattern inner) {
    int least = 1;
    int most = 1;
    if (take(U'*')) {
      least = 0;
      most = Pattern::kUnbounded;
    } else if (take(U'+')) {
      most = Pattern::kUnbounded;
    } else if (take(U'?')) {
      least = 0;
    } else if (!done() && peek() == U'{' && at_ + 1 < source_.size() && source_[at_ + 1] >= U'0' && source_[at_ + 1] <= U'9') {
      ++at_;
      least = number();
      most = least;
      if (take(U',')) most = !done() && peek() == U'}' ? Pattern::kUnbounded : number();
      if (!take(U'}') || (most != Pattern::kUnbounded && most < least)) return malformed("a { } that is no repetition");
      if (least > kRepeatMax || most > kRepeatMax) return Error{ErrorCode::too_large, fmt::format("the pattern repeats something more than {} times", kRepeatMax)};
    } else {
      return inner;
    }
    take(U'?');  // Lazy or not makes no difference to what matches.
    if (!done() && (peek() == U'*' || peek() == U'+' || peek() == U'?')) return malformed("a repetition of a repetition");
    Pattern repeated;
    repeated.kind = Pattern::Kind::repeat;
    repeated.least = least;
    repeated.most = most;
    repeated.parts.push_back(std::move(inner));
    return repeated;
  }

  int number() {
    int value = 0;
    while (!done() && peek() >= U'0' && peek() <= U'9') value = std::min(kRepeatMax + 1, value * 10 + static_cast<int>(source_[at_++] - U'0'));
    return value;
  }

  std::u32string_view source_;
  std::size_t at_ = 0;
};

// How many characters of states the pattern is, its repetitions written out.
std::size_t written_out(const Pattern& pattern) {
  std::size_t sum = 1;
  for (const Pattern& part : pattern.parts) sum = std::min(kStatesMax + 1, sum + written_out(part));
  if (pattern.kind == Pattern::Kind::repeat) sum *= static_cast<std::size_t>(std::max(1, std::max(pattern.least, pattern.most)));
  return std::min(kStatesMax + 1, sum);
}

// Thompson's construction: a state reads one character of its set, or splits.
class Machine {
 public:
  explicit Machine(const ParsedPattern& pattern) {
    const int end = add({});  // State 0 accepts.
    start_ = build(pattern.tree, end);
  }

  bool run(const ParsedPattern& pattern, std::u32string_view text) {
    std::vector<int> now;
    std::vector<int> next;
    marks_.assign(states_.size(), -1);
    for (std::size_t at = 0;; ++at) {
      const int turn = static_cast<int>(at);
      std::vector<int> here;
      for (const int state : now) follow(state, turn, here);
      if (at == 0 || !pattern.from_start) follow(start_, turn, here);
      const bool accepted = std::ranges::find(here, 0) != here.end();
      if (accepted && (!pattern.to_end || at == text.size())) return true;
      if (at == text.size()) return false;
      next.clear();
      for (const int state : here) {
        if (state != 0 && contains(*states_[static_cast<std::size_t>(state)].set, text[at])) next.push_back(states_[static_cast<std::size_t>(state)].to);
      }
      now.swap(next);
    }
  }

 private:
  struct State {
    const CharacterSet* set = nullptr;  // Null: a split (or the end).
    int to = -1;
    int other = -1;
  };

  int add(State state) {
    states_.push_back(state);
    return static_cast<int>(states_.size()) - 1;
  }

  int build(const Pattern& pattern, int then) {
    switch (pattern.kind) {
      case Pattern::Kind::set: return add({&pattern.characters, then, -1});
      case Pattern::Kind::sequence: {
        for (auto part = pattern.parts.rbegin(); part != pattern.parts.rend(); ++part) then = build(*part, then);
        return then;
      }
      case Pattern::Kind::choice: {
        int start = build(pattern.parts.back(), then);
        for (std::size_t i = pattern.parts.size() - 1; i-- > 0;) start = add({nullptr, build(pattern.parts[i], then), start});
        return start;
      }
      case Pattern::Kind::repeat: break;
    }
    const Pattern& inner = pattern.parts.front();
    int start = then;
    if (pattern.most == Pattern::kUnbounded) {
      start = add({nullptr, -1, then});
      states_[static_cast<std::size_t>(start)].to = build(inner, start);
    } else {
      for (int i = pattern.least; i < pattern.most; ++i) start = add({nullptr, build(inner, start), then});
    }
    for (int i = 0; i < pattern.least; ++i) start = build(inner, start);
    return start;
  }

  // The reading states reachable from `state` without reading.
  void follow(int state, int turn, std::vector<int>& out) {
    std::vector<int> open{state};
    while (!open.empty()) {
      const int at = open.back();
      open.pop_back();
      if (at < 0 || marks_[static_cast<std::size_t>(at)] == turn) continue;
      marks_[static_cast<std::size_t>(at)] = turn;
      const State& seen = states_[static_cast<std::size_t>(at)];
      if (at == 0 || seen.set != nullptr) {
        out.push_back(at);
      } else {
        open.push_back(seen.other);
        open.push_back(seen.to);
      }
    }
  }

  std::vector<State> states_;
  std::vector<int> marks_;
  int start_ = 0;
};

}  // namespace

CharacterSet complement(const CharacterSet& set) {
  CharacterSet rest;
  char32_t from = 0;
  for (const auto& [first, last] : set) {
    if (first > from) rest.emplace_back(from, first - 1);
    from = last + 1;
  }
  if (from <= 0x10FFFF) rest.emplace_back(from, 0x10FFFF);
  return rest;
}

bool contains(const CharacterSet& set, char32_t character) {
  return std::ranges::any_of(set, [&](const auto& range) { return character >= range.first && character <= range.second; });
}

Result<ParsedPattern> parse_pattern(std::string_view source) {
  if (source.size() > kSourceBytesMax) return Error{ErrorCode::too_large, fmt::format("the pattern has {} bytes; at most {} are read", source.size(), kSourceBytesMax)};
  const std::u32string characters = code_points(source);
  auto parsed = Parser(characters).whole();
  if (!parsed) return parsed;
  if (written_out(parsed->tree) > kStatesMax) return Error{ErrorCode::too_large, "the pattern's repetitions multiply to too much"};
  return parsed;
}

bool matches(const ParsedPattern& pattern, std::u32string_view text) { return Machine(pattern).run(pattern, text); }

std::u32string code_points(std::string_view text) {
  std::u32string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    char32_t value = length <= 1 ? lead : lead & (0xFFu >> (length + 1));
    std::size_t read = 1;
    while (read < length && i + read < text.size() && (static_cast<unsigned char>(text[i + read]) & 0xC0) == 0x80) {
      value = (value << 6) | (static_cast<unsigned char>(text[i + read]) & 0x3Fu);
      ++read;
    }
    out.push_back(length == 0 || read < length ? U'\uFFFD' : value);
    i += read;
  }
  return out;
}

void append_utf8(std::string& text, char32_t character) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(static_cast<unsigned char>(byte))); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | (character >> 6));
    put(0x80 | (character & 0x3F));
  } else if (character < 0x10000) {
    put(0xE0 | (character >> 12));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  } else {
    put(0xF0 | (character >> 18));
    put(0x80 | ((character >> 12) & 0x3F));
    put(0x80 | ((character >> 6) & 0x3F));
    put(0x80 | (character & 0x3F));
  }
}

}  // namespace pensieve
