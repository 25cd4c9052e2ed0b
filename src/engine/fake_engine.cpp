#include "engine/fake_engine.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "base/check.h"
#include "core/picture_token.h"

namespace pensieve {
namespace {

constexpr std::array<std::string_view, 5> kMarkers = {"<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|begin|>"};
constexpr TokenId kUser = 257;
constexpr TokenId kAssistant = 258;
constexpr TokenId kEnd = 259;
constexpr TokenId kBegin = 260;
constexpr TokenId kVocabularySize = 261;

constexpr const char* kTemplate =
    "{% if tools %}{{ '<|system|><tools>' }}{% for t in tools %}{{ t | tojson }}{% endfor %}{{ '</tools><|end|>' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}{{ '<|user|><tool_response>' + m.content + '</tool_response><|end|>' }}"
    "{% else %}{{ '<|' + m.role + '|>' }}{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ '<tool_call>{\"name\": \"' + c.function.name + '\", \"arguments\": ' }}{{ c.function.arguments | tojson }}{{ '}</tool_call>' }}{% endfor %}"
    "{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% if enable_thinking %}{{ '<think>' }}{% endif %}{% endif %}";

class FakeVocabulary final : public Vocabulary {
 public:
  Result<std::vector<TokenId>> tokenise(std::string_view text, bool add_begin) const override {
    std::vector<TokenId> tokens;
    if (add_begin) tokens.push_back(kBegin);
    while (!text.empty()) {
      const auto marker = std::ranges::find_if(kMarkers, [&](std::string_view name) { return text.starts_with(name); });
      if (marker != kMarkers.end()) {
        tokens.push_back(static_cast<TokenId>(256 + (marker - kMarkers.begin())));
        text.remove_prefix(marker->size());
      } else {
        tokens.push_back(static_cast<unsigned char>(text.front()));
        text.remove_prefix(1);
      }
    }
    return tokens;
  }
  std::string piece(TokenId token) const override { return token < 256 ? std::string(1, static_cast<char>(token)) : std::string(); }
  std::string control_text(TokenId token) const override {
    return token < 256 ? piece(token) : std::string(kMarkers.at(static_cast<std::size_t>(token - 256)));
  }
  bool ends_turn(TokenId token) const override { return token == kEnd; }
  std::int32_t size() const override { return kVocabularySize; }
  TokenId begin_token() const override { return kBegin; }
  TokenId end_token() const override { return kEnd; }
  bool adds_begin() const override { return true; }
  std::vector<std::string> cut_marks(std::string_view sample) const override {
    std::vector<std::string> marks;
    for (const std::string_view name : kMarkers) {
      if (sample.find(name) != std::string_view::npos) marks.emplace_back(name);
    }
    return marks;
  }
};

std::vector<TokenId> rows_of(std::string_view image) {
  std::array<std::uint64_t, 4> digest{};
  for (std::size_t i = 0; i < image.size(); ++i) digest[i % 4] = (digest[i % 4] ^ static_cast<unsigned char>(image[i])) * 1099511628211u + i;
  return picture_tokens(digest, 0, 12);
}

class FakeSight final : public Sight {
 public:
  Result<std::vector<TokenId>> tokens_of(std::string_view image) const override {
    if (!image.starts_with("image") && !image.starts_with("\x89PNG")) return Error{ErrorCode::invalid_argument, "this is no image"};
    return rows_of(image);
  }
  Result<void> check(std::string_view image) const override {
    if (image.starts_with("image bad")) return Error{ErrorCode::invalid_argument, "this image is damaged: it could not be decoded"};
    return {};
  }
};

// What was shown: how many rows, and of which bytes.
std::string seen_in(const std::vector<TokenId>& tokens) {
  std::uint32_t sum = 0;
  int rows = 0;
  for (const TokenId token : tokens) {
    if (!is_picture(token)) continue;
    ++rows;
    sum = sum * 31 + static_cast<std::uint32_t>(token);
  }
  return std::to_string(rows) + " rows, " + std::to_string(sum);
}

class GreedySampler final : public Sampler {
 public:
  TokenId sample(std::span<const float> logits) override {
    return static_cast<TokenId>(std::ranges::max_element(logits) - logits.begin());
  }
  void accept(TokenId) override {}
};

struct Turn {
  std::string question;        // Text of the last user message.
  std::size_t said_bytes = 0;  // Tokens after the last assistant marker.
};

std::optional<Turn> last_turn(const std::vector<TokenId>& tokens) {
  const auto assistant = std::find(tokens.rbegin(), tokens.rend(), kAssistant);
  if (assistant == tokens.rend()) return std::nullopt;
  const auto user = std::find(assistant, tokens.rend(), kUser);
  Turn turn;
  turn.said_bytes = static_cast<std::size_t>(assistant - tokens.rbegin());
  if (user == tokens.rend()) return turn;
  for (auto at = user.base(); at != tokens.end() && *at < 256; ++at) {
    if (!is_picture(*at)) turn.question.push_back(static_cast<char>(*at));
  }
  return turn;
}

constexpr std::string_view kTurns = "!turns [";

// The entry of the last script in what the user said that belongs to this turn of the assistant.
std::optional<std::string> scripted(const std::vector<TokenId>& tokens) {
  std::string text;  // Control tokens as bytes that no text has: \x01 user, \x02 assistant, \x03 others.
  text.reserve(tokens.size());
  for (const TokenId token : tokens) text.push_back(is_picture(token) ? '\x04' : token < 256 ? static_cast<char>(token) : token == kUser ? '\x01' : token == kAssistant ? '\x02' : '\x03');
  std::size_t at = text.rfind(kTurns);
  while (at != std::string::npos) {
    const std::size_t speaker = text.find_last_of("\x01\x02\x03", at);
    if (speaker != std::string::npos && text[speaker] == '\x01') break;  // Not in a system message, nor in an answer.
    at = at == 0 ? std::string::npos : text.rfind(kTurns, at - 1);
  }
  if (at == std::string::npos) return std::nullopt;
  const std::size_t begin = at + kTurns.size() - 1;
  std::size_t end = begin;
  bool in_string = false;
  for (; end < text.size(); ++end) {
    if (in_string && text[end] == '\\') ++end;
    else if (text[end] == '"') in_string = !in_string;
    else if (!in_string && text[end] == ']') break;
  }
  const auto turns = nlohmann::json::parse(text.substr(begin, end + 1 - begin), nullptr, false);
  if (!turns.is_array()) return "the script is no JSON array of texts";
  const auto turn = static_cast<std::size_t>(std::count(text.begin() + static_cast<std::ptrdiff_t>(at), text.end(), '\x02'));
  if (turn == 0 || turn > turns.size() || !turns[turn - 1].is_string()) return "done";
  return turns[turn - 1].get<std::string>();
}

// What a broken engine, or a broken process around it, does in the midst of a step.
void misbehave(const std::string& question) {
  constexpr std::string_view kNonsense = "this is no report\n";
  if (question == "!abort") std::abort();
  if (question == "!stop") std::raise(SIGSTOP);
  if (question == "!deaf") ::close(STDOUT_FILENO);
  if (question == "!nonsense") (void)!::write(STDOUT_FILENO, kNonsense.data(), kNonsense.size());
  while (question == "!hang") std::this_thread::sleep_for(std::chrono::seconds(1));
  for (volatile std::uint64_t turns = 0; question == "!spin";) turns = turns + 1;
}

std::string answer_to(const std::string& question) {
  if (question.starts_with("!repeat ")) {
    char* rest = nullptr;
    const unsigned long times = std::strtoul(question.c_str() + 8, &rest, 10);
    const std::string text = *rest == ' ' ? rest + 1 : rest;
    std::string answer;
    for (unsigned long i = 0; i < times; ++i) answer += text;
    return answer;
  }
  if (question.starts_with("!bytes ")) {
    std::string answer;
    for (std::size_t i = 7; i + 1 < question.size(); i += 2) answer.push_back(static_cast<char>(std::strtoul(question.substr(i, 2).c_str(), nullptr, 16)));
    return answer;
  }
  return question;
}

}  // namespace

std::unique_ptr<Vocabulary> make_fake_vocabulary() { return std::make_unique<FakeVocabulary>(); }

FakeEngine::FakeEngine(const FakeEngineOptions& options) : options_(options), vocabulary_(make_fake_vocabulary()) {
  facts_.name = "fake";
  facts_.architecture = "fake";
  facts_.chat_template = kTemplate;
  facts_.backends = "script";
  facts_.context_trained = options.context_tokens;
  facts_.context_tokens = options.context_tokens;
  facts_.slots = options.slots;
  facts_.step_rows_max = 512;
  facts_.rows_alone = options.rows_alone;
  if (options.sees) sight_ = std::make_unique<FakeSight>();
}

FakeEngine::~FakeEngine() = default;

Result<void> FakeEngine::step(std::span<const Row> rows) {
  logits_.clear();
  if (options_.step_time.count() > 0) std::this_thread::sleep_for(options_.step_time);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::vector<TokenId>& tokens = sequences_[rows[i].sequence];
    std::vector<TokenId>& complements = second_piece_[rows[i].sequence];
    CHECK(rows[i].position == static_cast<std::int32_t>(tokens.size()), "rows extend their sequence by one position each");
    tokens.push_back(rows[i].token);
    complements.push_back(~rows[i].token);
    if (!rows[i].wants_logits) continue;
    CHECK(std::ranges::equal(tokens, complements, [](TokenId a, TokenId b) { return a == ~b; }), "both pieces of the state agree");
    const Turn turn = last_turn(tokens).value_or(Turn{});
    misbehave(turn.question);
    if (turn.question == "!fail") return Error{ErrorCode::internal, "the script asked for a failed step"};
    const std::string answer = turn.question.find("!see") != std::string::npos ? seen_in(tokens) : scripted(tokens).value_or(answer_to(turn.question));
    const TokenId next = turn.said_bytes < answer.size() ? static_cast<unsigned char>(answer[turn.said_bytes]) : kEnd;
    std::vector<float>& row = logits_[i];
    row.assign(static_cast<std::size_t>(kVocabularySize), 0.0f);
    row[static_cast<std::size_t>(next)] = 1.0f;
  }
  return {};
}

Result<void> FakeEngine::see(SequenceId sequence, std::int32_t position, std::string_view image, std::int32_t part) {
  std::vector<TokenId>& tokens = sequences_[sequence];
  CHECK(part == 0 && position == static_cast<std::int32_t>(tokens.size()), "rows extend their sequence by one position each");
  for (const TokenId token : rows_of(image)) {
    tokens.push_back(token);
    second_piece_[sequence].push_back(~token);
  }
  return {};
}

std::span<const float> FakeEngine::logits(std::size_t row) const { return logits_.at(row); }

void FakeEngine::forget(SequenceId sequence, std::int32_t from_position) {
  CHECK(!options_.whole_states || from_position == 0, "a state that cannot be cut is forgotten whole");
  for (auto* piece : {&sequences_, &second_piece_}) {
    std::vector<TokenId>& tokens = (*piece)[sequence];
    tokens.resize(std::min(tokens.size(), static_cast<std::size_t>(from_position)));
  }
}

Result<void> FakeEngine::claim_kv(SequenceId sequence, std::span<const TokenId> tokens) {
  sequences_[sequence].assign(tokens.size(), 0);
  second_piece_[sequence].assign(tokens.size(), 0);
  return {};
}

void FakeEngine::read_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<std::byte> out) const {
  if (const auto time = std::exchange(dawdle_, {}); time.count() > 0) std::this_thread::sleep_for(time);
  const std::vector<TokenId>& tokens = (piece == 0 ? sequences_ : second_piece_).at(sequence);
  std::ranges::fill(out, std::byte{0});  // Cells after the end hold whatever they held.
  const std::size_t there = std::min(tokens.size() - std::min(tokens.size(), static_cast<std::size_t>(begin)), static_cast<std::size_t>(count));
  std::memcpy(out.data(), tokens.data() + begin, there * sizeof(TokenId));
}

void FakeEngine::write_kv(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count, std::span<const std::byte> from, std::int32_t) {
  std::vector<TokenId>& tokens = (piece == 0 ? sequences_ : second_piece_).at(sequence);
  CHECK(begin + count <= std::ssize(tokens), "cells are claimed before they are written");
  std::memcpy(tokens.data() + begin, from.data(), static_cast<std::size_t>(count) * sizeof(TokenId));
}

std::span<std::byte> FakeEngine::kv_cells(SequenceId sequence, std::size_t piece, std::int32_t begin, std::int32_t count) {
  if (options_.cells_apart) return {};
  std::vector<TokenId>& tokens = (piece == 0 ? sequences_ : second_piece_).at(sequence);
  CHECK(begin + count <= std::ssize(tokens), "only cells that are claimed have a place");
  return std::as_writable_bytes(std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)));
}

std::size_t FakeEngine::state_bytes(SequenceId sequence) const {
  const auto found = sequences_.find(sequence);
  return found == sequences_.end() ? 0 : found->second.size() * 2 * sizeof(TokenId);
}

Result<void> FakeEngine::save_state(SequenceId sequence, std::span<std::byte> out) const {
  CHECK(out.size() == state_bytes(sequence), "a state is saved whole");
  std::memcpy(out.data(), sequences_.at(sequence).data(), out.size() / 2);
  std::memcpy(out.data() + out.size() / 2, second_piece_.at(sequence).data(), out.size() / 2);
  return {};
}

Result<void> FakeEngine::load_state(SequenceId sequence, std::span<const std::byte> state) {
  for (auto* piece : {&sequences_, &second_piece_}) {
    std::vector<TokenId>& tokens = (*piece)[sequence];
    tokens.resize(state.size() / 2 / sizeof(TokenId));
    std::memcpy(tokens.data(), state.data() + (piece == &sequences_ ? 0 : state.size() / 2), tokens.size() * sizeof(TokenId));
  }
  return {};
}

std::uint64_t FakeEngine::give_back_kv(SequenceId sequence) {
  CHECK(sequences_[sequence].empty(), "only what was forgotten is given back");
  return 1000;
}

Result<std::unique_ptr<Sampler>> FakeEngine::make_sampler(const Sampling&, const Grammar*) { return std::unique_ptr<Sampler>(std::make_unique<GreedySampler>()); }

}  // namespace pensieve
