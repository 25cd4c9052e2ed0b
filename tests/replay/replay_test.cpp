// Sessions recorded from real clients (tests/claude/recorder.mjs, redacted), through
// edge and template: what the model reads at turn N must be the strict beginning of
// what it reads at turn N+1, token by token, or every turn is computed anew.
//
// PENSIEVE_REPLAY=FILE replays another recording; make e2e does so with a fresh one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "api/anthropic/messages_request.h"
#include "chat/chat_template.h"
#include "engine/fake_engine.h"

namespace pensieve {
namespace {

std::vector<std::string> lines_of(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string recording() {
  const char* other = std::getenv("PENSIEVE_REPLAY");
  return other != nullptr ? other : std::string(PENSIEVE_SOURCE_DIR) + "/tests/replay/claude_code_2_1_330.jsonl";
}

struct Shape {
  const char* name;
  std::string source;
};

std::vector<Shape> shapes() {
  return {
      {"fake", FakeEngine({}).facts().chat_template},
      {"demo", text_of(std::string(PENSIEVE_SOURCE_DIR) + "/models/training/template.jinja")},
      {"no tools", "{% for m in messages %}[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}"},
      {"strict",
       "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system must come first') }}{% endif %}"
       "[{{ m.role }}:{{ m.content }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}"},
  };
}

TEST(Replay, EveryTurnBeginsWithTheOneBefore) {
  const std::vector<std::string> bodies = lines_of(recording());
  ASSERT_GE(bodies.size(), 4u) << recording();
  const FakeEngine engine({});
  for (const Shape& shape : shapes()) {
    const auto chat = ChatTemplate::make("", shape.source, engine.vocabulary());
    ASSERT_TRUE(chat) << shape.name << ": " << chat.error().message;
    std::vector<TokenId> before;
    for (std::size_t turn = 0; turn < bodies.size(); ++turn) {
      const auto request = anthropic::parse_messages_request(bodies[turn], anthropic::Endpoint::messages);
      ASSERT_TRUE(request) << request.error().message;
      const auto rendered = chat->render(request->prompt);
      ASSERT_TRUE(rendered) << shape.name << ": " << rendered.error().message;
      const auto tokens = engine.vocabulary().tokenise(rendered->text, true);
      ASSERT_TRUE(tokens);
      ASSERT_GT(tokens->size(), before.size()) << shape.name << ", turn " << turn;
      const auto parting = std::ranges::mismatch(before, *tokens).in1;
      ASSERT_EQ(parting, before.end()) << shape.name << ", turn " << turn << " parts at token " << parting - before.begin() << " of " << before.size() << ": "
                                       << rendered->text.substr(static_cast<std::size_t>(std::max<std::ptrdiff_t>(0, parting - before.begin() - 200)), 400);
      before = *tokens;
    }
  }
}

// The recording must hold what makes prefixes break, or the test above shows nothing.
TEST(Replay, TheRecordingHasWhatBreaksPrefixes) {
  if (std::getenv("PENSIEVE_REPLAY") != nullptr) GTEST_SKIP() << "of the committed recording only";
  const std::string all = text_of(recording());
  for (const char* mark : {"x-anthropic-billing-header", "\"cache_control\"", "\"defer_loading\":true", "\"tool_reference\"", "\"role\":\"system\"", "\"is_error\":true", "\"type\":\"tool_result\""}) {
    EXPECT_NE(all.find(mark), std::string::npos) << mark;
  }
  // Without the edge's work the same session does part: the bodies themselves are no prefixes of each other.
  const auto bodies = lines_of(recording());
  const auto with_rules = anthropic::parse_messages_request(bodies[0], anthropic::Endpoint::messages, true);
  const auto without = anthropic::parse_messages_request(bodies[0], anthropic::Endpoint::messages, false);
  EXPECT_NE(with_rules->prompt.messages[0], without->prompt.messages[0]);
}

}  // namespace
}  // namespace pensieve
