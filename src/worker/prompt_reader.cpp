#include "worker/prompt_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "core/picture_token.h"
#include "worker/answer_reader.h"

namespace pensieve {
namespace {

using Json = nlohmann::json;

constexpr std::size_t kCheckedMax = 1024;

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

PromptReader::PromptReader(const ChatTemplate& chat, const Vocabulary& vocabulary, const AnswerMemory& answers, const Sight* sight)
    : chat_(chat), vocabulary_(vocabulary), answers_(answers), tokens_(vocabulary, sample_of(chat)), sight_(sight) {
  for (TokenId token = 0; token < vocabulary.size(); ++token) {
    if (!vocabulary.ends_turn(token)) continue;
    if (std::string mark = vocabulary.control_text(token); !mark.empty()) turn_ends_.push_back(std::move(mark));
  }
}

Result<std::vector<PromptReader::SeenImage>> PromptReader::look_at(const Prompt& prompt, bool check_images) {
  std::vector<SeenImage> images;
  if (prompt.images.empty()) return images;
  if (sight_ == nullptr) return Error{ErrorCode::invalid_argument, "messages: this model cannot see (capability_rejected: image_block)"};
  for (std::size_t i = 0; i < prompt.images.size(); ++i) {
    auto tokens = sight_->tokens_of(prompt.images[i]);
    if (tokens && check_images && !checked_.contains(*tokens)) {
      if (const Result<void> whole = sight_->check(prompt.images[i]); !whole) {
        tokens = whole.error();
      } else {
        if (checked_.size() >= kCheckedMax) checked_.clear();
        checked_.insert(*tokens);
      }
    }
    if (!tokens) {
      const Error& error = tokens.error();
      return Error{error.code, fmt::format("messages: image {} of {}: {}{}", i + 1, prompt.images.size(), error.message, error.code == ErrorCode::invalid_argument ? " (capability_rejected: image_block)" : "")};
    }
    SeenImage image{*std::move(tokens), {}};
    for (std::size_t at = 0; at < image.tokens.size(); ++at) {
      if (begins_picture(image.tokens[at])) image.parts.emplace_back(at, at);
      if (is_picture(image.tokens[at])) image.parts.back().second = at + 1;
    }
    images.push_back(std::move(image));
  }
  return images;
}

// Which rows are whose: every run of ids below 0 must be a part of one of the images.
Result<void> PromptReader::find_pictures(const std::vector<SeenImage>& images, ReadPrompt& made) const {
  const std::span<const TokenId> tokens = made.tokens;
  for (std::size_t at = 0; at < tokens.size(); ++at) {
    if (!is_picture(tokens[at])) {
      if (tokens[at] >= vocabulary_.size()) return Error{ErrorCode::invalid_argument, fmt::format("tokens: {} is outside the vocabulary", tokens[at])};
      continue;
    }
    const std::size_t before = made.pictures.size();
    for (std::size_t image = 0; image < images.size() && made.pictures.size() == before; ++image) {
      for (std::size_t part = 0; part < images[image].parts.size(); ++part) {
        const auto [begin, end] = images[image].parts[part];
        const auto rows = std::span(images[image].tokens).subspan(begin, end - begin);
        if (tokens.size() - at < rows.size() || !std::ranges::equal(rows, tokens.subspan(at, rows.size()))) continue;
        made.pictures.push_back({static_cast<std::int32_t>(at), static_cast<std::int32_t>(at + rows.size()), static_cast<std::int32_t>(image), static_cast<std::int32_t>(part)});
        break;
      }
    }
    if (made.pictures.size() == before) return Error{ErrorCode::invalid_argument, fmt::format("tokens: {} is outside the vocabulary, and none of the images", tokens[at])};
    at = static_cast<std::size_t>(made.pictures.back().end) - 1;
  }
  if (!tokens.empty() && is_picture(tokens.back())) return Error{ErrorCode::invalid_argument, "messages: a prompt cannot end with an image"};
  return {};
}

Result<ReadPrompt> PromptReader::read(const Prompt& prompt, bool check_images) {
  ReadPrompt made;
  const auto images = look_at(prompt, check_images);
  if (!images) return images.error();
  if (!prompt.tokens.empty()) {
    made.tokens = prompt.tokens;
    if (Result<void> found = find_pictures(*images, made); !found) return std::move(found).error();
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
  const auto tokenise_text = [&](std::size_t end) -> Result<void> {
    if (end == done && !add_begin) return {};
    const std::string_view part = std::string_view(text).substr(done, end - done);
    done = end;
    return tokens_.tokenise(part, std::exchange(add_begin, false), made.tokens);
  };
  const auto tokenise_up_to = [&](std::size_t end) -> Result<void> {
    while (!images->empty()) {
      std::size_t next = end, image = 0;
      for (std::size_t i = 0; i < images->size(); ++i) {
        const std::size_t at = text.find(rendered->image_marks[i], done);
        if (at >= next) continue;
        next = at;
        image = i;
      }
      if (next == end) break;
      if (Result<void> before = tokenise_text(next); !before) return before;
      const std::vector<TokenId>& tokens = (*images)[image].tokens;
      made.tokens.insert(made.tokens.end(), tokens.begin(), tokens.end());
      done = next + rendered->image_marks[image].size();
    }
    return tokenise_text(end);
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
  if (!images->empty()) {
    if (Result<void> found = find_pictures(*images, made); !found) return std::move(found).error();
  }
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
