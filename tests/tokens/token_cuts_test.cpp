// Texts cut at the marks of real vocabularies, SentencePiece and byte-level BPE, give the
// tokens of the whole: that is libllama's own affair, so it is tried on libllama. The seed
// is printed; PENSIEVE_TEST_SEED sets it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "chat/chat_template.h"
#include "engine/engine.h"
#include "worker/token_memory.h"

namespace pensieve {
namespace {

std::string path_of(const std::string& model) {
  if (model == "demo") return std::string(PENSIEVE_SOURCE_DIR) + "/models/pensieve-demo.gguf";
  const std::string path = (std::filesystem::temp_directory_path() / fmt::format("pensieve-cuts-{}-{}.gguf", model, ::getpid())).string();
  EXPECT_EQ(std::system(fmt::format("{} {} {} 2>/dev/null", PENSIEVE_MAKE_MODEL, model, path).c_str()), 0);
  return path;
}

std::unique_ptr<Engine> load(const std::string& model) {
  EngineOptions options;
  options.model_path = path_of(model);
  options.slots = options.threads = 1;
  options.context_tokens = 512;
  auto engine = load_llama_engine(options, [](double) {});
  EXPECT_TRUE(engine) << engine.error().message;
  if (model != "demo") std::filesystem::remove(options.model_path);
  return *std::move(engine);
}

class TokenCuts : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, TokenCuts, testing::Values("demo", "tiny", "tiny-qwen3", "tiny-gemma3", "tiny-granitemoe"), [](const auto& one) {
  std::string name = one.param;
  std::erase(name, '-');
  return name;
});

TEST_P(TokenCuts, GiveTheTokensOfTheWhole) {
  const auto engine = load(GetParam());
  const Vocabulary& vocabulary = engine->vocabulary();
  const auto chat = ChatTemplate::make("", engine->facts().chat_template, vocabulary);
  ASSERT_TRUE(chat);
  Prompt prompt;
  for (const Role role : {Role::system, Role::user, Role::assistant, Role::user}) prompt.messages.emplace_back(role, "words");
  const std::string sample = chat->render(prompt)->text;
  const std::vector<std::string> marks = vocabulary.cut_marks(sample);
  ASSERT_FALSE(marks.empty()) << sample;

  const char* given = std::getenv("PENSIEVE_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE(fmt::format("PENSIEVE_TEST_SEED={}", seed));
  std::mt19937_64 random(seed);
  // Marks whole and torn, spaces and line breaks on either side of them, words, bytes of many kinds.
  std::vector<std::string> pieces = {" ", "  ", "\n", "\n\n", "a", "the words", " word", "<", "<|", "|>", "_", "\xE2\x96\x81", "\xC3\xA9", "\xF0\x9F\x98\x80", "0123456", "{\"k\": [1]}", "\t", "'s", "user", "<s>", "</s>"};
  for (const std::string& mark : marks) {
    for (int i = 0; i < 3; ++i) pieces.push_back(mark);
    pieces.push_back(mark.substr(0, mark.size() / 2));
    pieces.push_back(mark.substr(mark.size() / 2));
  }
  TokenMemory memory(vocabulary, sample, 30'000);
  for (int round = 0; round < 3000; ++round) {
    std::string text = random() % 8 == 0 ? sample : "";
    for (std::size_t i = random() % 60; i-- > 0;) text += pieces[random() % pieces.size()];
    const bool begin = vocabulary.adds_begin() && random() % 2 == 0;
    std::vector<TokenId> tokens;
    ASSERT_TRUE(memory.tokenise(text, begin, tokens));
    ASSERT_EQ(tokens, *vocabulary.tokenise(text, begin)) << "'" << text << "'";
  }
}

}  // namespace
}  // namespace pensieve
