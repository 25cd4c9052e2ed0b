#include "worker/prompt_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "worker/answer_reader.h"

namespace pensieve {
namespace {

using Json = nlohmann::json;

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kWhite = " \n\r\t";
  const std::size_t begin = text.find_first_not_of(kWhite);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kWhite) - begin + 1);
}

// What an answer says, without the white space between its parts and the spelling of its JSON.
struct Said {
  AnswerPart::Kind kind = AnswerPart::Kind::text;
  std::string text;  // Of a call its name.
  Json input;
  bool operator==(const Said&) const = default;
};

std::vector<Said> said_in(const std::vector<AnswerPart>& parts) {
  std::vector<Said> all;
  for (const AnswerPart& part : parts) {
    if (part.kind == AnswerPart::Kind::call) all.push_back({part.kind, part.call.name, Json::parse(part.call.input, nullptr, false)});
    else if (!all.empty() && all.back().kind == part.kind) all.back().text += part.text;
    else all.push_back({part.kind, part.text, {}});
  }
  std::erase_if(all, [](const Said& said) { return said.kind != AnswerPart::Kind::call && trimmed(said.text).empty(); });
  for (Said& said : all) said.text = std::string(trimmed(said.text));
  return all;
}

// A conversation as the template writes it, to see its marks. Empty: it takes none.
std::string sample_of(const ChatTemplate& chat) {
  Prompt prompt;
  for (const Role role : {Role::system, Role::user, Role::assistant, Role::user}) prompt.messages.emplace_back(role, "words");
  const auto rendered = chat.render(prompt);
  return rendered ? rendered->text : std::string();
}

}  // namespace

PromptReader::PromptReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const AnswerMemory& answers)
    : chat_(chat), vocabulary_(vocabulary), answers_(answers), tokens_(vocabulary, sample_of(chat)) {
  for (TokenId token = 0; token < vocabulary.size(); ++token) {
    if (!vocabulary.ends_turn(token)) continue;
    if (std::string mark = vocabulary.control_text(token); !mark.empty()) turn_ends_.push_back(std::move(mark));
  }
}

Result<ReadPrompt> PromptReader::read(const Prompt& prompt) {
  ReadPrompt made;
  if (!prompt.tokens.empty()) {
    for (const TokenId token : prompt.tokens) {
      if (token < 0 || token >= vocabulary_.size()) return Error{ErrorCode::invalid_argument, fmt::format("tokens: {} is outside the vocabulary", token)};
    }
    made.tokens = prompt.tokens;
    return made;
  }
  if (!prompt.text.empty()) {
    auto tokens = vocabulary_.tokenise(prompt.text, vocabulary_.adds_begin());
    if (!tokens) return std::move(tokens).error();
    made.tokens = *std::move(tokens);
    return made;
  }
  Result<RenderedPrompt> rendered = chat_.render(prompt);
  if (!rendered) return std::move(rendered).error();
  const std::string& text = rendered->text;
  // Some templates write the begin marker themselves; it must not stand twice.
  const std::string begin = vocabulary_.control_text(vocabulary_.begin_token());
  const bool has_begin = !begin.empty() && text.starts_with(begin);
  bool add_begin = vocabulary_.adds_begin() && !has_begin;

  const ToolTable tools(prompt.tools);
  std::size_t done = 0;
  const auto tokenise_up_to = [&](std::size_t end) -> Result<void> {
    if (end == done && !add_begin) return {};
    const std::string_view part = std::string_view(text).substr(done, end - done);
    done = end;
    return tokens_.tokenise(part, std::exchange(add_begin, false), made.tokens);
  };
  for (const KnownAnswer& answer : answers_.inside(text)) {
    if (answer.prompt_bytes < done) continue;  // Inside one that was taken, or another answer to the same.
    const auto span = answer_at(text, answer, tools);
    if (!span || span->begin < done) continue;
    if (Result<void> before = tokenise_up_to(span->begin); !before) return std::move(before).error();
    const auto tokens = without_end(answer);
    made.tokens.insert(made.tokens.end(), tokens.begin(), tokens.end());
    done = span->end;
    ++made.answers_recognised;
    log::debug("an answer of {} tokens is taken as it was sampled", tokens.size());
  }
  if (Result<void> rest = tokenise_up_to(text.size()); !rest) return std::move(rest).error();
  made.opening = std::move(rendered->opening);
  made.origin = origin_of(text);
  return made;
}

std::span<const TokenId> PromptReader::without_end(const KnownAnswer& answer) const {
  std::span<const TokenId> tokens = answer.tokens;
  while (!tokens.empty() && tokens.back() >= 0 && tokens.back() < vocabulary_.size() && vocabulary_.ends_turn(tokens.back())) tokens = tokens.first(tokens.size() - 1);
  return tokens;
}

std::optional<PromptReader::Span> PromptReader::answer_at(std::string_view text, const KnownAnswer& answer, const ToolTable& tools) const {
  const auto tokens = without_end(answer);
  const bool known = std::ranges::all_of(tokens, [this](TokenId token) { return token >= 0 && token < vocabulary_.size(); });
  if (tokens.empty() || !known) return std::nullopt;
  std::size_t end = std::string_view::npos;
  for (const std::string& mark : turn_ends_) end = std::min(end, text.find(mark, answer.prompt_bytes));
  if (end == std::string_view::npos || end == answer.prompt_bytes) return std::nullopt;
  if (!says_the_same(text.substr(answer.prompt_bytes, end - answer.prompt_bytes), answer, tokens, tools)) return std::nullopt;
  return Span{answer.prompt_bytes, end};
}

bool PromptReader::says_the_same(std::string_view rendered, const KnownAnswer& answer, std::span<const TokenId> tokens, const ToolTable& tools) const {
  std::string sampled;
  for (const TokenId token : tokens) sampled += visible_text(chat_, vocabulary_, token);
  if (sampled == rendered) return true;
  const auto said = [&](std::string_view said_text) {
    const auto parser = make_answer_parser(chat_.tool_syntax(), chat_.thinking_marks(), tools);
    std::vector<AnswerPart> parts;
    parser->push(answer.opening, parts);
    parser->push(said_text, parts);
    parser->finish(true, parts);
    return said_in(parts);
  };
  return said(sampled) == said(rendered);
}

}  // namespace pensieve
