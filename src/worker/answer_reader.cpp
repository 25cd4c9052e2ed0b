#include "worker/answer_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/json_schema_check.h"

namespace pensieve {
namespace {

constexpr std::uint64_t kFnvStart = 1469598103934665603u;
constexpr std::uint64_t kFnvPrime = 1099511628211u;

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  for (int byte = 0; byte < 8; ++byte) hash = (hash ^ ((value >> (8 * byte)) & 0xFF)) * kFnvPrime;
  return hash;
}

// Another prompt or another seed, other ids: a conversation never has one twice.
std::uint64_t call_seed_of(const GenerateRequest& request) {
  std::uint64_t hash = mixed(kFnvStart, request.sampling.seed.value_or(0));
  for (const TokenId token : request.prompt.tokens) hash = mixed(hash, static_cast<std::uint64_t>(token));
  return hash;
}

bool may_call(const Prompt& prompt) { return prompt.tool_choice.kind != ToolChoice::Kind::none; }

}  // namespace

// Control tokens are no part of an answer, but the marks of calls and thinking must be seen.
std::string visible_text(const ChatTemplate& chat, const Vocabulary& vocabulary, TokenId token) {
  std::string piece = vocabulary.piece(token);
  if (!piece.empty()) return piece;
  std::string mark = vocabulary.control_text(token);
  if (mark.empty()) return mark;
  const ThinkingMarks& thinking = chat.thinking_marks();
  const bool known = std::ranges::find(chat.tool_syntax().marks(), mark) != chat.tool_syntax().marks().end() || mark == thinking.close ||
                     (!thinking.open.empty() && thinking.open.starts_with(mark));
  return known ? mark : std::string();
}

AnswerReader::AnswerReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const GenerateRequest& request)
    : chat_(chat),
      vocabulary_(vocabulary),
      one_call_at_most_(request.prompt.tool_choice.one_at_most),
      json_schema_(request.prompt.json_schema),
      characters_({}),
      parser_(make_answer_parser(chat.tool_syntax(), chat.thinking_marks(), may_call(request.prompt) ? ToolTable(request.prompt.tools) : ToolTable(),
                                 request.grammar && request.grammar->sure_of_calls)),
      text_(request.stop_sequences),
      call_seed_(call_seed_of(request)) {
  for (const Tool& tool : request.prompt.tools) {
    if (tool.strict) strict_.emplace(tool.name, tool.input_schema);
  }
  std::vector<AnswerPart> already_in_the_prompt;
  parser_->push(request.opening, already_in_the_prompt);
}

std::vector<StreamEvent> AnswerReader::push(TokenId token) {
  std::vector<AnswerPart> parts;
  const std::string text = characters_.push(visible_text(chat_, vocabulary_, token));
  if (!text.empty()) parser_->push(text, parts);
  return events_of(parts);
}

std::vector<StreamEvent> AnswerReader::finish(bool ended_by_model) {
  std::vector<AnswerPart> parts;
  parser_->push(characters_.flush(), parts);
  parser_->finish(ended_by_model, parts);
  std::vector<StreamEvent> events = events_of(parts);
  flush_text(events);
  if (!json_schema_.empty() && ended_by_model && !called()) {
    const auto violations = json_schema_check(json_schema_, shown_);
    if (!violations) violation_ = "the answer: is no JSON";
    else if (!violations->empty()) violation_ = "the answer: " + violations->front();
  }
  return events;
}

// The schema was looked at when the request came: one that cannot be read is no reason against a call.
bool AnswerReader::fits(const ParsedCall& call) {
  const auto schema = strict_.find(call.name);
  if (schema == strict_.end()) return true;
  const auto violations = json_schema_check(schema->second, call.input);
  if (!violations || violations->empty()) return true;
  violation_ = fmt::format("a call of {}: {}", call.name, violations->front());
  return false;
}

std::vector<StreamEvent> AnswerReader::events_of(const std::vector<AnswerPart>& parts) {
  std::vector<StreamEvent> events;
  for (const AnswerPart& part : parts) {
    if (!stopped_by().empty() || turn_is_over()) break;
    using Kind = AnswerPart::Kind;
    if (part.kind == Kind::call && !fits(part.call)) {
      show(text_.push(chat_.tool_syntax().write({part.call})), events);
      continue;
    }
    if (part.kind == Kind::text) {
      show(text_.push(part.text), events);
      continue;
    }
    flush_text(events);
    if (part.kind == Kind::thinking) events.emplace_back(Thinking{part.text, {}, 0});
    if (part.kind == Kind::call || part.kind == Kind::call_begun) events.emplace_back(ToolCallBegun{next_call_id(), part.call.name, {}, 0});
    if (part.kind == Kind::call) events.emplace_back(ToolInput{part.call.input, {}, 0});
    if (part.kind == Kind::call_input) events.emplace_back(ToolInput{part.text, {}, 0});
    if (part.kind != Kind::call && part.kind != Kind::call_ended) continue;
    events.emplace_back(ToolCallEnded{{}, 0});
    ++ended_calls_;
  }
  return events;
}

void AnswerReader::show(std::string text, std::vector<StreamEvent>& events) {
  if (text.empty()) return;
  if (!json_schema_.empty()) shown_ += text;
  events.emplace_back(Text{std::move(text), {}, 0});
}

void AnswerReader::flush_text(std::vector<StreamEvent>& events) { show(text_.flush(), events); }

std::string AnswerReader::next_call_id() {
  const std::uint64_t first = mixed(call_seed_, static_cast<std::uint64_t>(++calls_));
  return fmt::format("toolu_{:016x}{:08x}", first, mixed(first, 1) & 0xFFFFFFFFu);
}

}  // namespace pensieve
