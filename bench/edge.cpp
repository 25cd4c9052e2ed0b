// What a prompt costs before the engine sees it, stage by stage, on the ways that a
// request takes: the server's edge (JSON to a prompt, the line to the worker), and the
// worker's wire thread (line, template, tokens, line back). Two prompts:
//
//   agent     50 kB as Claude Code sends: system, 12 tools, one question
//   session   200 turns, half of them calls and results, under a small system prompt
//
// "first" is a prompt that nobody sent before, "next" one that goes on from it by a turn:
// what an agent sends all day.
//
//   usage   pensieve-bench-edge MODEL [ROUNDS]
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>

#include "api/anthropic/messages_request.h"
#include "base/check.h"
#include "base/log.h"
#include "engine/engine.h"
#include "wire/frames.h"
#include "worker/prompt_reader.h"

namespace {

using namespace pensieve;
using Json = nlohmann::ordered_json;

// All of it runs on this thread: its processor time says what it costs also beside other load.
double own_ms() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

// Like English to a tokenizer: 4,000 words of usual lengths, the r-th used 1/r as often as the first, sentences, lines,
// numbers, quotes. The same number gives the same text.
std::string prose(std::size_t bytes, std::uint64_t seed) {
  constexpr std::string_view kVowels = "eaoiu", kConsonants = "tnshrdlcmwfgypbvk";
  static const std::vector<std::string> words = [&] {
    std::vector<std::string> list;
    std::uint64_t state = 99;
    const auto roll = [&](std::uint64_t below) { return (state = state * 6364136223846793005ull + 1442695040888963407ull, (state >> 33) % below); };
    for (std::size_t i = 0; i < 4000; ++i) {
      std::string word;
      for (std::uint64_t letters = 1 + roll(3) + std::min<std::uint64_t>(i / 8, 3) + roll(4); word.size() < letters;) word.push_back(word.size() % 2 == 0 ? kConsonants[roll(kConsonants.size())] : kVowels[roll(kVowels.size())]);
      list.push_back(std::move(word));
    }
    return list;
  }();
  std::string text;
  std::uint64_t state = seed * 2654435761u + 12345;
  const auto roll = [&](std::uint64_t below) { return (state = state * 6364136223846793005ull + 1442695040888963407ull, (state >> 33) % below); };
  while (text.size() < bytes) {
    const double even = static_cast<double>(roll(1u << 20)) / static_cast<double>(1u << 20);
    text += words[static_cast<std::size_t>(std::pow(static_cast<double>(words.size()), even)) - 1];
    const std::uint64_t mark = roll(100);
    text += mark == 0 ? ".\n\n - " : mark < 4 ? ".\n" : mark < 12 ? ", " : mark < 14 ? "` " : " ";
    if (roll(60) == 0) text += fmt::format("{} ", roll(10000));
  }
  text.resize(bytes);
  return text;
}

Json tools(std::size_t count, std::size_t bytes_each) {
  Json list = Json::array();
  for (std::size_t i = 0; i < count; ++i) {
    Json properties = Json::object();
    for (int p = 0; p < 4; ++p) properties[fmt::format("field_{}", p)] = {{"type", p % 2 == 0 ? "string" : "integer"}, {"description", prose(bytes_each / 16, i * 8 + static_cast<std::size_t>(p))}};
    list.push_back({{"name", fmt::format("Tool{}", i)}, {"description", prose(bytes_each * 5 / 8, i + 100)},
                    {"input_schema", {{"type", "object"}, {"properties", properties}, {"required", {"field_0"}}, {"additionalProperties", false}}}});
  }
  return list;
}

std::string agent(std::size_t turns) {
  Json body = {{"model", "m"}, {"max_tokens", 32000}, {"stream", true}, {"tools", tools(12, 2600)}};
  body["system"] = Json::array({{{"type", "text"}, {"text", prose(7000, 1)}, {"cache_control", {{"type", "ephemeral"}}}}});
  Json& messages = body["messages"] = Json::array({{{"role", "user"}, {"content", "Please fix the bug."}}, {{"role", "system"}, {"content", prose(9000, 2)}}});
  for (std::size_t i = 0; i < turns; ++i) {
    messages.push_back({{"role", "assistant"}, {"content", Json::array({{{"type", "tool_use"}, {"id", fmt::format("toolu_{:024x}", i)}, {"name", "Tool1"}, {"input", {{"field_0", prose(40, i)}}}}})}});
    messages.push_back({{"role", "user"}, {"content", Json::array({{{"type", "tool_result"}, {"tool_use_id", fmt::format("toolu_{:024x}", i)}, {"content", prose(300, i + 7)}}})}});
  }
  return body.dump();
}

std::string session(std::size_t turns) {
  Json body = {{"model", "m"}, {"max_tokens", 32000}, {"system", prose(500, 3)}, {"tools", tools(3, 600)}};
  Json& messages = body["messages"] = Json::array();
  for (std::size_t i = 0; i < turns; i += 4) {
    messages.push_back({{"role", "user"}, {"content", prose(60, i)}});
    messages.push_back({{"role", "assistant"}, {"content", Json::array({{{"type", "text"}, {"text", prose(80, i + 1)}},
                                                                         {{"type", "tool_use"}, {"id", fmt::format("toolu_{:024x}", i)}, {"name", "Tool1"}, {"input", {{"field_0", prose(40, i)}}}}})}});
    messages.push_back({{"role", "user"}, {"content", Json::array({{{"type", "tool_result"}, {"tool_use_id", fmt::format("toolu_{:024x}", i)}, {"content", prose(200, i + 7)}}})}});
    messages.push_back({{"role", "assistant"}, {"content", prose(150, i + 2)}});
  }
  messages.push_back({{"role", "user"}, {"content", "And now?"}});
  return body.dump();
}

struct Stages {
  std::vector<std::pair<std::string, std::vector<double>>> all;
  void note(const std::string& name, double ms) {
    auto found = std::ranges::find(all, name, &std::pair<std::string, std::vector<double>>::first);
    if (found == all.end()) found = all.insert(all.end(), {name, {}});
    found->second.push_back(ms);
  }
  double median(const std::string& name) {
    auto& times = std::ranges::find(all, name, &std::pair<std::string, std::vector<double>>::first)->second;
    std::ranges::sort(times);
    return times[times.size() / 2];
  }
};

// One prompt all the way. Rendering is timed apart, too: `read` does it again.
std::size_t once(const std::string& body, const ChatTemplate& chat, PromptReader& reader, Stages& stages, const std::string& kind) {
  double before = own_ms();
  const auto took = [&](const char* name) {
    const double ms = own_ms() - before;
    stages.note(kind + name, ms);
    before = own_ms();
    return ms;
  };
  auto request = anthropic::parse_messages_request(body, anthropic::Endpoint::messages);
  CHECK(request, "the bench's own request is good");
  double lines = took("server: read the body");
  const std::string line = wire::encode(wire::Command(wire::Count{RequestId{1}, std::move(request->prompt), false}));
  lines += took("server: write the line");
  auto command = wire::parse_command(line);
  CHECK(command, "the line is good");
  lines += took("worker: read the line");
  const Prompt& prompt = std::get<wire::Count>(*command).prompt;
  CHECK(chat.render(prompt), "the template takes it");
  const double render = took("worker: render");
  const auto read = reader.read(prompt);
  CHECK(read, "it can be read");
  const double tokens = took("worker: render and tokenise");
  stages.note(kind + "edge and rendering", lines + render);
  stages.note(kind + "all", lines + tokens);
  return read->tokens.size();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: pensieve-bench-edge MODEL [ROUNDS]\n";
    return 2;
  }
  if (!log_start("bench", "error")) return 1;
  EngineOptions options;
  options.model_path = argv[1];
  options.slots = 1;
  options.context_tokens = 512;
  if (!log_start("bench", "warn")) return 1;  // To stderr: stdout is the figures'.
  auto engine = load_llama_engine(options, [](double) {});
  if (!engine) {
    std::cerr << engine.error().message << '\n';
    return 1;
  }
  const Vocabulary& vocabulary = (*engine)->vocabulary();
  const auto chat = ChatTemplate::make("", (*engine)->facts().chat_template, vocabulary);
  if (!chat) {
    std::cerr << chat.error().message << '\n';
    return 1;
  }
  const std::size_t rounds = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 9;
  const AnswerMemory answers;
  std::cout << fmt::format("{}, vocabulary {}, medians of {} rounds, ms of one core\n", (*engine)->facts().name, vocabulary.size(), rounds);
  for (const auto& [name, make, turns] : {std::tuple("agent", &agent, std::size_t{0}), std::tuple("session", &session, std::size_t{200})}) {
    Stages stages;
    std::size_t tokens = 0, bytes = 0;
    for (std::size_t round = 0; round < rounds; ++round) {
      PromptReader reader(*chat, vocabulary, answers);  // Which knows nothing yet.
      const std::string first = make(turns);
      bytes = first.size();
      tokens = once(first, *chat, reader, stages, "first ");
      once(make(turns + (turns == 0 ? 1 : 4)), *chat, reader, stages, "next ");
    }
    std::cout << fmt::format("\n{}: {} bytes, {} tokens\n{:34} {:>8} {:>8}\n", name, bytes, tokens, "", "first", "next");
    std::vector<std::string> names;
    for (const auto& [stage, times] : stages.all) {
      if (stage.starts_with("first ")) names.push_back(stage.substr(6));
    }
    for (const std::string& stage : names) std::cout << fmt::format("{:34} {:8.2f} {:8.2f}\n", stage, stages.median("first " + stage), stages.median("next " + stage));
  }
  return 0;
}
