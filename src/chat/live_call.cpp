#include "chat/live_call.h"

#include <cctype>

#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using call_text::State;

// `at` goes behind `pattern`. White space in it may be left out, or be of another kind.
State follow(std::string_view text, std::size_t& at, std::string_view pattern) {
  for (const char c : pattern) {
    if (std::isspace(static_cast<unsigned char>(c)) != 0) {
      at = call_text::skip_space(text, at);
      continue;
    }
    if (at == text.size()) return State::incomplete;
    if (text[at] != c) return State::malformed;
    ++at;
  }
  return State::complete;
}

bool in_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; }

}  // namespace

void LiveCall::restart() { *this = LiveCall(std::move(shape_)); }

bool LiveCall::look(std::string_view text, const ToolTable& tools) {
  if (name_.empty()) {
    std::size_t at = 0;
    if (const State state = follow(text, at, shape_.before_name); state != State::complete) return state == State::incomplete;
    const std::size_t begin = at;
    while (at < text.size() && in_name(text[at])) ++at;
    const std::string_view name = text.substr(begin, at - begin);
    if (const State state = follow(text, at, shape_.before_input); state != State::complete) return state == State::incomplete;
    at = call_text::skip_space(text, at);
    if (at == text.size()) return true;
    if (text[at] != '{' || !tools.has(name)) return false;
    name_ = name;
    begin_ = end_ = told_ = at;
  }
  for (; end_ < text.size() && (end_ == begin_ || depth_ > 0); ++end_) {
    const char c = text[end_];
    if (escaped_) escaped_ = false;
    else if (in_string_ && c == '\\') escaped_ = true;
    else if (c == '"') in_string_ = !in_string_;
    else if (!in_string_ && (c == '{' || c == '[')) ++depth_;
    else if (!in_string_ && (c == '}' || c == ']')) --depth_;
  }
  return true;
}

std::string_view LiveCall::fresh_input(std::string_view text) {
  const std::string_view fresh = text.substr(told_, end_ - told_);
  told_ = end_;
  return fresh;
}

}  // namespace pensieve
