// `pensieve claude` and `pensieve connect`: a client's settings, made from what the
// running server says of itself. Nothing is written to the client's own files: the
// settings live in the environment of one child.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "base/errno_text.h"
#include "client.h"
#include "commands.h"
#include "platform/child_process.h"

extern char** environ;

namespace pensieve {
namespace {

using namespace std::chrono_literals;
using Variables = std::vector<std::pair<std::string, std::string>>;

// Claude Code's own prompt, tools included, before the first word of a user.
constexpr std::int64_t kAgentPromptTokens = 20000;
constexpr std::int64_t kAnswerTokensMax = 32000;

// The names are Claude Code's (shared/API.md 2.5). A model name must have no '/'.
Variables claude_variables(const ServerFacts& server, const std::string& key) {
  Variables all = {{"ANTHROPIC_BASE_URL", server.url}, {"ANTHROPIC_AUTH_TOKEN", key.empty() ? "pensieve" : key}, {"ANTHROPIC_MODEL", server.model_id}};
  // Side calls and subagents ask for the tiers by name: all of them are the one model.
  for (const char* tier : {"OPUS", "SONNET", "HAIKU", "FABLE"}) all.emplace_back(fmt::format("ANTHROPIC_DEFAULT_{}_MODEL", tier), server.model_id);
  all.emplace_back("CLAUDE_CODE_SUBAGENT_MODEL", server.model_id);
  // For an unknown name it would assume a million tokens, and never compact.
  all.emplace_back("CLAUDE_CODE_MAX_CONTEXT_TOKENS", std::to_string(server.context_tokens));
  all.emplace_back("CLAUDE_CODE_MAX_OUTPUT_TOKENS", std::to_string(std::clamp<std::int64_t>(server.context_tokens / 4, 1, kAnswerTokensMax)));
  all.emplace_back("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1");
  all.emplace_back("CLAUDE_CODE_ATTRIBUTION_HEADER", "0");  // A line that differs in every conversation.
  return all;
}

std::string shell_quoted(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:-") == std::string::npos;
  if (plain) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// Empty: it is nowhere.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : std::string();
  return find_on_path(name, true);
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A server that lives as long as this command.
class OwnServer {
 public:
  OwnServer() = default;
  OwnServer(const OwnServer&) = delete;
  OwnServer& operator=(const OwnServer&) = delete;
  ~OwnServer() {
    if (pid_ > 0) {
      ::kill(pid_, SIGTERM);
      ::waitpid(pid_, nullptr, 0);
    }
    if (!log_.empty()) ::unlink(log_.c_str());
  }

  // Starts it and waits until it listens; its address.
  Result<std::string> start(const std::vector<std::string>& argv) {
    std::string pattern = (std::filesystem::temp_directory_path() / "pensieve-serve-XXXXXX").string();
    const int log = ::mkstemp(pattern.data());
    if (log < 0) return Error{ErrorCode::internal, fmt::format("no log file can be made: {}", errno_text())};
    log_ = pattern;
    std::vector<char*> arguments;
    for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ == 0) {
#ifdef __linux__
      ::prctl(PR_SET_PDEATHSIG, SIGTERM);
      if (::getppid() != parent) ::_exit(1);
#endif
      ::setpgid(0, 0);  // Ctrl-C in the terminal is Claude Code's.
      const int nothing = ::open("/dev/null", O_RDONLY);
      ::dup2(nothing, 0);
      ::dup2(log, 1);
      ::dup2(log, 2);
      ::execv(arguments[0], arguments.data());
      ::_exit(127);
    }
    static_cast<void>(parent);
    ::close(log);
    if (pid_ < 0) return Error{ErrorCode::internal, fmt::format("the server cannot be started: {}", errno_text())};
    for (int tick = 0; tick < 300; ++tick) {
      const std::string said = text_of(log_);
      constexpr std::string_view kListening = "listening on ";
      if (const std::size_t at = said.find(kListening); at != std::string::npos && said.find('\n', at) != std::string::npos) {
        return said.substr(at + kListening.size(), said.find('\n', at) - at - kListening.size());
      }
      if (ended()) return Error{ErrorCode::internal, fmt::format("the server ended:\n{}", said)};
      std::this_thread::sleep_for(100ms);
    }
    return Error{ErrorCode::timeout, "the server did not listen within 30 seconds"};
  }

  bool ended() {
    if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
    return pid_ <= 0;
  }

 private:
  pid_t pid_ = -1;
  std::string log_;
};

Result<ServerFacts> until_ready(const std::string& url, const std::string& key, int seconds) {
  bool told = false;
  for (const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);;) {
    auto facts = facts_of(url, key);
    if (facts || facts.error().code != ErrorCode::unavailable || std::chrono::steady_clock::now() > deadline) return facts;
    if (!told) std::cerr << "pensieve: " << facts.error().message << " ...\n";
    told = true;
    std::this_thread::sleep_for(200ms);
  }
}

volatile sig_atomic_t child_of_signals = -1;

int run_child(const std::string& program, const std::vector<std::string>& args, const Variables& variables) {
  std::vector<std::string> environment;
  for (char** at = environ; *at != nullptr; ++at) {
    const std::string_view entry = *at;
    const std::string_view name = entry.substr(0, entry.find('='));
    // An API key beside a token makes Claude Code ask which one is meant.
    const bool replaced = name == "ANTHROPIC_API_KEY" || std::ranges::any_of(variables, [&](const auto& variable) { return variable.first == name; });
    if (!replaced) environment.emplace_back(entry);
  }
  for (const auto& [name, value] : variables) environment.push_back(name + "=" + value);
  std::vector<char*> arguments{const_cast<char*>(program.c_str())};
  for (const std::string& argument : args) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> entries;
  for (std::string& entry : environment) entries.push_back(entry.data());
  entries.push_back(nullptr);

  const pid_t child = ::fork();
  if (child == 0) {
    ::execve(program.c_str(), arguments.data(), entries.data());
    std::cerr << "pensieve claude: " << program << " cannot be run: " << errno_text() << '\n';
    ::_exit(126);
  }
  if (child < 0) {
    std::cerr << "pensieve claude: no process can be made: " << errno_text() << '\n';
    return 1;
  }
  // The terminal's signals reach the child by themselves; what is sent to us alone is handed on.
  child_of_signals = child;
  ::signal(SIGINT, SIG_IGN);
  ::signal(SIGQUIT, SIG_IGN);
  for (const int each : {SIGTERM, SIGHUP}) {
    ::signal(each, [](int received) { ::kill(static_cast<pid_t>(child_of_signals), received); });
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string url_for(const ConnectOptions& options) {
  return options.url.empty() ? fmt::format("http://127.0.0.1:{}", options.port) : options.url;
}

}  // namespace

int claude(const ConnectOptions& options, const std::vector<std::string>& args, const std::string& own_path) {
  const std::string program = find_program(options.claude.empty() ? "claude" : options.claude);
  if (program.empty()) {
    std::cerr << fmt::format("pensieve claude: '{}' is not installed, or not in PATH. Get it with: npm install -g @anthropic-ai/claude-code\n", options.claude.empty() ? "claude" : options.claude);
    return 127;
  }
  OwnServer server;
  std::string url = url_for(options);
  auto facts = options.url.empty() && options.port == 0 ? Result<ServerFacts>(Error{ErrorCode::unavailable, ""}) : facts_of(url, options.api_key);
  if (!facts && facts.error().code == ErrorCode::unavailable && facts.error().message.find("still loading") == std::string::npos) {
    if (!options.url.empty()) {
      std::cerr << "pensieve claude: " << facts.error().message << "; start one with 'pensieve serve', or leave --url out\n";
      return 1;
    }
    std::vector<std::string> argv = {own_path, "serve", "--port", std::to_string(options.port)};
    if (!options.model.empty()) argv.insert(argv.end(), {"--model", options.model});
    if (!options.context.empty()) argv.insert(argv.end(), {"--context", options.context});
    if (!options.worker.empty()) argv.insert(argv.end(), {"--worker", options.worker});
    auto started = server.start(argv);
    if (!started) {
      std::cerr << "pensieve claude: " << started.error().message << '\n';
      return 1;
    }
    url = *started;
  }
  if (!facts) facts = until_ready(url, options.api_key, options.wait_seconds);
  if (!facts) {
    std::cerr << "pensieve claude: " << facts.error().message << '\n';
    return 1;
  }
  if (facts->context_tokens < kAgentPromptTokens) {
    std::cerr << fmt::format("pensieve claude: the server has {} tokens of context; Claude Code's own prompt takes 12 to 20 thousand. Give --context 32768 or more.\n", facts->context_tokens);
  }
  return run_child(program, args, claude_variables(*facts, options.api_key));
}

int connect(const ConnectOptions& options) {
  const std::string url = url_for(options);
  const auto facts = facts_of(url, options.api_key);
  if (!facts) {
    std::cerr << "pensieve connect: " << facts.error().message << "; start one with 'pensieve serve'\n";
    return 1;
  }
  const std::string key = options.api_key.empty() ? "pensieve" : options.api_key;
  const auto wants = [&](const char* what) { return options.only.empty() || options.only == what; };
  const auto title = [&](const char* words) {
    if (options.only.empty()) std::cout << "\n# ---- " << words << " ----\n";
  };
  if (wants("shell")) {
    title("Claude Code, as shell lines: eval \"$(pensieve connect --only shell)\"");
    for (const auto& [name, value] : claude_variables(*facts, options.api_key)) std::cout << "export " << name << '=' << shell_quoted(value) << '\n';
  }
  if (wants("python")) {
    title("Python");
    std::cout << fmt::format("from anthropic import Anthropic\nclient = Anthropic(base_url=\"{}\", api_key=\"{}\")\n"
                             "print(client.messages.create(model=\"{}\", max_tokens=100, messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]).content[0].text)\n",
                             url, key, facts->model_id);
  }
  if (wants("typescript")) {
    title("TypeScript");
    std::cout << fmt::format("import Anthropic from \"@anthropic-ai/sdk\";\nconst client = new Anthropic({{ baseURL: \"{}\", apiKey: \"{}\" }});\n"
                             "const reply = await client.messages.create({{ model: \"{}\", max_tokens: 100, messages: [{{ role: \"user\", content: \"Hello\" }}] }});\nconsole.log(reply.content);\n",
                             url, key, facts->model_id);
  }
  if (wants("openai")) {
    title("OpenAI clients, and editors that take an OpenAI base URL");
    std::cout << fmt::format("OPENAI_BASE_URL={}/v1\nOPENAI_API_KEY={}\nOPENAI_MODEL={}\n", url, shell_quoted(key), facts->model_id);
  }
  if (wants("zed")) {
    title("Zed, in settings.json");
    std::cout << fmt::format("{{\n  \"language_models\": {{\n    \"anthropic\": {{\n      \"api_url\": \"{}\",\n      \"available_models\": [{{ \"name\": \"{}\", \"display_name\": \"{}\", \"max_tokens\": {} }}]\n    }}\n  }}\n}}\n",
                             url, facts->model_id, facts->model_id, facts->context_tokens);
  }
  if (wants("curl")) {
    title("curl");
    std::cout << fmt::format("curl {}/v1/messages -H 'content-type: application/json' -H {} \\\n  -d '{{\"model\":\"{}\",\"max_tokens\":100,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n", url,
                             shell_quoted("x-api-key: " + key), facts->model_id);
  }
  return 0;
}

}  // namespace pensieve
