#include "chat/answer_parser.h"

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "chat/live_call.h"
#include "chat/syntax/call_text.h"

namespace pensieve {
namespace {

using call_text::skip_space;
using State = CallScan::State;
using Kind = AnswerPart::Kind;

bool is_space(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// How many bytes at the end of `text` may be the beginning of `marker`.
std::size_t begun_bytes(std::string_view text, std::string_view marker) {
  for (std::size_t length = std::min(text.size(), marker.size() - 1); length > 0; --length) {
    if (marker.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

// Text and thinking on their way out: white space waits until it is known whether
// words follow or a mark, beside which templates put white space of their own.
class Emitter {
 public:
  void put(Kind kind, std::string_view text, std::vector<AnswerPart>& parts) {
    if (kind != kind_) turn_to(kind);
    if (drop_space_) {
      text.remove_prefix(skip_space(text, 0));
      if (text.empty()) return;
      drop_space_ = false;
    }
    std::size_t words = text.size();
    if (holds_space_) {
      while (words > 0 && is_space(text[words - 1])) --words;
    }
    if (words > 0) {
      std::string out = std::exchange(space_, {}) + std::string(text.substr(0, words));
      said_ = said_ || kind == Kind::text;
      if (!parts.empty() && parts.back().kind == kind) parts.back().text += out;
      else parts.push_back({kind, std::move(out), {}});
    }
    space_ += text.substr(words);
  }
  // A mark stands here: white space on either side belongs to it.
  void mark() {
    space_.clear();
    drop_space_ = true;
  }
  void hold_space(bool on) { holds_space_ = on; }
  void flush(std::vector<AnswerPart>& parts) {
    const std::string rest = std::exchange(space_, {});
    if (rest.empty() || drop_space_ || kind_ != Kind::text) return;
    if (!parts.empty() && parts.back().kind == Kind::text) parts.back().text += rest;
    else parts.push_back({Kind::text, rest, {}});
  }
  bool said() const { return said_; }

 private:
  void turn_to(Kind kind) {
    kind_ = kind;
    space_.clear();
  }
  Kind kind_ = Kind::text;
  std::string space_;
  bool drop_space_ = false;
  bool holds_space_ = false;
  bool said_ = false;
};

void put_calls(std::vector<ParsedCall> calls, std::vector<AnswerPart>& parts) {
  for (ParsedCall& call : calls) parts.push_back({Kind::call, {}, std::move(call)});
}

// A call that may come out while it is sampled.
class Live {
 public:
  Live(const ToolSyntax& syntax, bool wanted) {
    if (wanted && syntax.json_shape()) call_.emplace(*syntax.json_shape());
  }
  void restart() {
    if (call_) call_->restart();
    out_of_shape_ = false;
  }
  void look(std::string_view text, const ToolTable& tools, std::vector<AnswerPart>& parts) {
    if (!call_ || out_of_shape_) return;
    const bool known = begun();
    out_of_shape_ = !call_->look(text, tools);
    if (!begun()) return;
    if (!known) parts.push_back({Kind::call_begun, {}, {call_->name(), {}}});
    if (const std::string_view fresh = call_->fresh_input(text); !fresh.empty()) parts.push_back({Kind::call_input, std::string(fresh), {}});
  }
  bool begun() const { return call_ && !call_->name().empty(); }
  // The call was scanned. False: it is not what came out, and must stay open.
  bool end(std::string_view text, CallScan& scan, std::vector<AnswerPart>& parts) const {
    const bool same = scan.state == State::complete && scan.calls.size() == 1 && scan.calls[0].name == call_->name() && nlohmann::json::accept(call_->input(text));
    if (same) parts.push_back({Kind::call_ended, {}, std::move(scan.calls[0])});
    scan.calls.clear();
    return same;
  }

 private:
  std::optional<LiveCall> call_;
  bool out_of_shape_ = false;
};

// Every family but harmony: words, with marks among them.
class MarkedParser final : public AnswerParser {
 public:
  MarkedParser(const ToolSyntax& syntax, ThinkingMarks thinking, ToolTable tools, bool live)
      : syntax_(syntax), marks_(std::move(thinking)), tools_(std::move(tools)), live_(syntax, live) {}

  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    held_ += text;
    while (step(text, parts)) text = held_;
  }

  void finish(bool ended, std::vector<AnswerPart>& parts) override {
    ended_ = true;
    by_model_ = ended;
    while (step(held_, parts)) {
    }
    out_.put(mode_ == Mode::thinking ? Kind::thinking : Kind::text, std::exchange(held_, {}), parts);
    out_.flush(parts);
  }

  bool thinking() const override { return mode_ == Mode::thinking; }

 private:
  enum class Mode { text, thinking, call, broken };  // broken: a call came out and stays open. Nothing may follow.

  // One move; false when more text is needed. `fresh` is what came since the last.
  bool step(std::string_view fresh, std::vector<AnswerPart>& parts) {
    if (held_.empty()) return false;
    switch (mode_) {
      case Mode::text: return text_step(parts);
      case Mode::thinking: return thinking_step(parts);
      case Mode::call: return call_step(fresh, parts);
      case Mode::broken: held_.clear();
    }
    return false;
  }

  bool text_step(std::vector<AnswerPart>& parts) {
    // Only the first words may be thinking: later, "<think>" is what the answer speaks of.
    const bool may_think = !marks_.open.empty() && !out_.said() && !called_ && !thought_;
    const bool may_call = !tools_.empty();
    out_.hold_space(may_call || may_think);
    if (parted_ && !out_.said()) {  // One `;` parts calls that have no marks.
      const std::size_t first = skip_space(held_, 0);
      if (first < held_.size() && held_[first] == ';') {
        held_.erase(0, first + 1);
        parted_ = false;
      }
    }
    if (may_call && !out_.said() && !syntax_.bare_openers().empty()) {
      const std::size_t first = skip_space(held_, 0);
      if (first < held_.size() && !refused_ && syntax_.bare_openers().find(held_[first]) != std::string_view::npos) {
        out_.put(Kind::text, std::string_view(held_).substr(0, first), parts);
        held_.erase(0, first);
        opener_bytes_ = 1;
        bare_ = true;
        enter_call();
        return true;
      }
    }
    std::size_t at = std::string::npos;
    std::string_view mark;
    const auto look_for = [&](std::string_view candidate) {
      const std::size_t found = held_.find(candidate);
      if (found == std::string::npos || found > at || (found == at && candidate.size() <= mark.size())) return;
      at = found;
      mark = candidate;
    };
    std::size_t keep = 0;
    if (may_think) {
      look_for(marks_.open);
      keep = begun_bytes(held_, marks_.open);
    }
    if (may_call) {
      for (const std::string_view opener : syntax_.openers()) {
        look_for(opener);
        keep = std::max(keep, begun_bytes(held_, opener));
      }
    }
    if (at == std::string::npos) {
      out_.put(Kind::text, std::string_view(held_).substr(0, held_.size() - keep), parts);
      held_.erase(0, held_.size() - keep);
      return false;
    }
    const bool thinks = may_think && mark == marks_.open;
    if (thinks && skip_space(held_, 0) < at) {  // Words before it: it is one of them.
      out_.put(Kind::text, std::string_view(held_).substr(0, at + mark.size()), parts);
      held_.erase(0, at + mark.size());
      return true;
    }
    out_.put(Kind::text, std::string_view(held_).substr(0, at), parts);
    if (thinks) {
      held_.erase(0, at + mark.size());
      out_.mark();
      out_.hold_space(true);
      mode_ = Mode::thinking;
      return true;
    }
    held_.erase(0, at);
    opener_bytes_ = mark.size();
    bare_ = false;
    enter_call();
    return true;
  }

  void enter_call() {
    mode_ = Mode::call;
    scanned_ = false;
    live_.restart();
  }

  bool thinking_step(std::vector<AnswerPart>& parts) {
    const std::size_t at = held_.find(marks_.close);
    if (at == std::string::npos) {
      const std::size_t ready = held_.size() - begun_bytes(held_, marks_.close);
      out_.put(Kind::thinking, std::string_view(held_).substr(0, ready), parts);
      held_.erase(0, ready);
      return false;
    }
    out_.put(Kind::thinking, std::string_view(held_).substr(0, at), parts);
    held_.erase(0, at + marks_.close.size());
    out_.mark();
    thought_ = true;
    mode_ = Mode::text;
    return true;
  }

  bool call_step(std::string_view fresh, std::vector<AnswerPart>& parts) {
    live_.look(held_, tools_, parts);
    const bool early = bare_ && held_.size() < 64;
    if (scanned_ && !ended_ && !early && fresh.find_first_of(syntax_.triggers()) == std::string_view::npos) return false;
    scanned_ = true;
    CallScan scan = syntax_.scan(held_, ended_ && by_model_, tools_);
    if (scan.state == State::incomplete && !ended_) return false;
    mode_ = Mode::text;
    if (live_.begun()) {
      if (!live_.end(held_, scan, parts)) {
        mode_ = Mode::broken;
        return true;
      }
      live_.restart();
    } else if (scan.state != State::complete) {
      // No call: its opener is text, and what follows is looked at again.
      refused_ = refused_ || bare_;
      out_.put(Kind::text, std::string_view(held_).substr(0, opener_bytes_), parts);
      held_.erase(0, opener_bytes_);
      return true;
    }
    out_.mark();
    put_calls(std::move(scan.calls), parts);
    called_ = true;
    parted_ = !syntax_.bare_openers().empty();
    held_.erase(0, scan.bytes);
    return true;
  }

  const ToolSyntax& syntax_;
  const ThinkingMarks marks_;
  const ToolTable tools_;
  Emitter out_;
  Live live_;
  Mode mode_ = Mode::text;
  std::string held_;
  std::size_t opener_bytes_ = 0;
  bool bare_ = false;
  bool refused_ = false;  // A bare opener stood there and was no call.
  bool scanned_ = false;
  bool called_ = false;
  bool parted_ = false;  // A call was the last thing, and a `;` may follow it.
  bool thought_ = false;
  bool ended_ = false;
  bool by_model_ = false;
};

// gpt-oss: messages with headers. Before the first header, and between two, words are text.
class HarmonyParser final : public AnswerParser {
 public:
  HarmonyParser(ToolTable tools, bool live) : tools_(std::move(tools)), live_(harmony_syntax(), live) {}

  void push(std::string_view text, std::vector<AnswerPart>& parts) override {
    held_ += text;
    while (step(parts)) {
    }
  }

  void finish(bool ended, std::vector<AnswerPart>& parts) override {
    ended_ = true;
    by_model_ = ended;
    while (step(parts)) {
    }
    if (mode_ != Mode::header && mode_ != Mode::broken) out_.put(mode_ == Mode::analysis ? Kind::thinking : Kind::text, held_, parts);
    held_.clear();
    out_.flush(parts);
  }

  bool thinking() const override { return mode_ == Mode::analysis; }

 private:
  enum class Mode { text, analysis, header, call, broken };
  static constexpr std::string_view kEnds[] = {"<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>"};
  static constexpr std::string_view kMessage = "<|message|>";
  static constexpr std::size_t kHeaderBytesMax = 400;

  bool step(std::vector<AnswerPart>& parts) {
    if (held_.empty()) return false;
    if (mode_ == Mode::header) return header_step(parts);
    if (mode_ == Mode::call) return call_step(parts);
    if (mode_ == Mode::broken) {
      held_.clear();
      return false;
    }
    std::size_t at = std::string::npos;
    std::size_t keep = 0;
    std::string_view mark;
    for (const std::string_view end : kEnds) {
      const std::size_t found = held_.find(end);
      if (found < at) {
        at = found;
        mark = end;
      }
      keep = std::max(keep, begun_bytes(held_, end));
    }
    const Kind kind = mode_ == Mode::analysis ? Kind::thinking : Kind::text;
    if (at == std::string::npos) {
      out_.put(kind, std::string_view(held_).substr(0, held_.size() - keep), parts);
      held_.erase(0, held_.size() - keep);
      return false;
    }
    out_.put(kind, std::string_view(held_).substr(0, at), parts);
    const bool header = mark == "<|start|>" || mark == "<|channel|>";
    held_.erase(0, header ? at : at + mark.size());
    mode_ = header ? Mode::header : Mode::text;
    return true;
  }

  bool header_step(std::vector<AnswerPart>& parts) {
    const std::size_t message = held_.find(kMessage);
    if (message == std::string::npos && held_.size() <= kHeaderBytesMax) return false;
    if (message > kHeaderBytesMax) {
      out_.put(Kind::text, std::exchange(held_, {}), parts);
      mode_ = Mode::text;
      return false;
    }
    const std::string_view header = std::string_view(held_).substr(0, message);
    if (header.find("to=functions.") != std::string_view::npos && !tools_.empty()) {
      mode_ = Mode::call;
      live_.restart();
      return true;
    }
    mode_ = header.find("analysis") != std::string_view::npos ? Mode::analysis : Mode::text;
    held_.erase(0, message + kMessage.size());
    return true;
  }

  bool call_step(std::vector<AnswerPart>& parts) {
    live_.look(held_, tools_, parts);
    CallScan scan = harmony_syntax().scan(held_, ended_ && by_model_, tools_);
    if (scan.state == State::incomplete && !ended_) return false;
    if (live_.begun()) {
      const bool ended = live_.end(held_, scan, parts);
      live_.restart();
      mode_ = ended ? Mode::text : Mode::broken;
      if (ended) held_.erase(0, scan.bytes);
      return true;
    }
    if (scan.state == State::complete) {
      put_calls(std::move(scan.calls), parts);
      held_.erase(0, scan.bytes);
    } else {
      held_.erase(0, held_.find(kMessage) + kMessage.size());  // Its words become text.
    }
    mode_ = Mode::text;
    return true;
  }

  const ToolTable tools_;
  Emitter out_;
  Live live_;
  Mode mode_ = Mode::text;
  std::string held_;
  bool ended_ = false;
  bool by_model_ = false;
};

}  // namespace

std::unique_ptr<AnswerParser> make_answer_parser(const ToolSyntax& syntax, const ThinkingMarks& thinking, ToolTable tools, bool live) {
  if (&syntax == &harmony_syntax()) return std::make_unique<HarmonyParser>(std::move(tools), live);
  return std::make_unique<MarkedParser>(syntax, thinking, std::move(tools), live);
}

}  // namespace pensieve
