// Looks into a call while it is sampled, where rules hold it to a shape: its name as soon as it stands
// there, then its input piece by piece, as it is.
//
//   Owns     how far it has looked; never text.
//   Threads  one.
#pragma once

#include <string>
#include <string_view>

#include "chat/syntax/tool_syntax.h"

namespace pensieve {

class LiveCall {
 public:
  explicit LiveCall(CallShape shape) : shape_(std::move(shape)) {}

  void restart();  // Another call begins.
  // `text` is the call from its first byte, grown since the last look. False: it has no such shape.
  bool look(std::string_view text, const ToolTable& tools);

  const std::string& name() const { return name_; }  // Empty: not known yet.
  // What came since it was last asked; `text` as for look().
  std::string_view fresh_input(std::string_view text);
  std::string_view input(std::string_view text) const { return text.substr(begin_, end_ - begin_); }

 private:
  CallShape shape_;
  std::string name_;
  std::size_t begin_ = 0, end_ = 0, told_ = 0;  // The input in the text, and how much of the text was told.
  int depth_ = 0;
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace pensieve
