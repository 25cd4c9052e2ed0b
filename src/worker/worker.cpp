#include "worker/worker.h"

#include <fmt/format.h>

#include <random>
#include <thread>

#include "base/log.h"
#include "base/version.h"
#include "cache/model_identity.h"
#include "chat/answer_grammar.h"
#include "chat/chat_template.h"
#include "platform/memory.h"
#include "worker/cache_marks.h"
#include "worker/last_word.h"
#include "worker/prompt_reader.h"
#include "worker/step_loop.h"

namespace pensieve {
namespace {

// The server's own defaults, under the model's: a mild nucleus, as most local servers have.
constexpr float kTemperature = 0.8f;
constexpr std::int32_t kTopK = 40;
constexpr float kTopP = 0.95f;
constexpr float kMinP = 0.05f;

template <typename T>
void fill(std::optional<T>& value, const std::optional<T>& model, std::optional<T> server) {
  if (!value) value = model ? model : server;
}

std::string json_safe(std::string text) {
  std::erase_if(text, [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32; });
  return text;
}

// Answers everything that needs no engine, and hands the rest on.
class WireThread {
 public:
  WireThread(const Engine& engine, const ChatTemplate& chat, const AnswerMemory& answers, WirePort& port, Inbox& inbox, Progress& progress)
      : engine_(engine), chat_(chat), prompts_(chat, engine.vocabulary(), answers, engine.sight()), port_(port), inbox_(inbox), progress_(progress) {}

  void run() {
    while (std::optional<std::string> line = port_.read_line()) {
      if (line->empty()) continue;
      Result<wire::Command> command = wire::parse_command(*line);
      if (!command) {
        log::warn("a line on the wire was refused: {}", command.error().message);
        port_.send(wire::Event{RequestId{0}, Failed{std::move(command).error()}});
        continue;
      }
      std::visit([this](auto& value) { handle(value); }, *command);
      if (std::holds_alternative<wire::Shutdown>(*command)) return;
    }
    inbox_.push(EndOfInput{});
  }

 private:
  void handle(wire::Count& count) {
    auto read = prompts_.read(count.prompt, count.wants_tokens);
    // A schema that cannot be used is refused with the count, before anything was promised.
    if (auto grammar = answer_grammar(count.prompt, read ? read->opening : std::string(), chat_.tool_syntax(), chat_.thinking_marks()); read && !grammar) read = std::move(grammar).error();
    if (!read) return port_.send(wire::Event{count.id, Failed{std::move(read).error()}});
    answers_recognised_ += static_cast<std::uint64_t>(read->answers_recognised);
    wire::Counted counted{count.id, static_cast<std::int32_t>(read->tokens.size()), {}, {}, {}, {}};
    if (count.wants_tokens) {
      counted.marks = marks_of(count.prompt, read->tokens);
      counted.tokens = std::move(read->tokens);
      counted.opening = std::move(read->opening);
      counted.origin = std::move(read->origin);
    }
    port_.send(counted);
  }

  void handle(wire::Generate& generate) {
    GenerateRequest& request = generate.request;
    auto read = prompts_.read(request.prompt);
    if (!read) return port_.send(wire::Event{request.id, Failed{std::move(read).error()}});
    if (request.prompt.tokens.empty()) {  // Else they came with the tokens.
      request.opening = std::move(read->opening);
      request.origin = std::move(read->origin);
      request.marks = marks_of(request.prompt, read->tokens);
      answers_recognised_ += static_cast<std::uint64_t>(read->answers_recognised);
    }
    auto grammar = answer_grammar(request.prompt, request.opening, chat_.tool_syntax(), chat_.thinking_marks());
    if (!grammar) return port_.send(wire::Event{request.id, Failed{std::move(grammar).error()}});
    request.grammar = *std::move(grammar);
    const std::int32_t room = engine_.facts().context_tokens;
    if (read->tokens.empty() || std::ssize(read->tokens) >= room) {
      return port_.send(wire::Event{
          request.id, Failed{{ErrorCode::invalid_argument, fmt::format("prompt is too long: {} tokens > {} maximum", read->tokens.size(), room - 1)}}});
    }
    request.prompt.tokens = std::move(read->tokens);
    request.pictures = std::move(read->pictures);
    request.prompt.messages.clear();
    const Sampling& model = engine_.facts().defaults;
    Sampling& sampling = request.sampling;
    fill(sampling.temperature, model.temperature, std::optional(kTemperature));
    fill(sampling.top_k, model.top_k, std::optional(kTopK));
    fill(sampling.top_p, model.top_p, std::optional(kTopP));
    fill(sampling.min_p, model.min_p, std::optional(kMinP));
    fill(sampling.repeat_penalty, model.repeat_penalty, {});
    if (!sampling.seed) sampling.seed = random_();
    inbox_.push(std::move(generate));
  }

  void handle(wire::Cancel& cancel) { inbox_.push(cancel); }
  void handle(wire::Pause& pause) { inbox_.push(pause); }
  void handle(wire::Resume& resume) { inbox_.push(resume); }
  void handle(wire::Shutdown& shutdown) { inbox_.push(shutdown); }
  void handle(wire::Memory& memory) {
    log::info("memory: {}", memory.level);
    if (memory.level != "safe") return_freed_memory();
    inbox_.push(memory);  // What slots hold is the engine thread's.
  }
  void handle(wire::Health&) {
    wire::KvFacts kv = progress_.kv();
    kv.answers_recognised = answers_recognised_;
    port_.send(wire::HealthReport{"ready", progress_.running, progress_.waiting, progress_.steps, engine_.pulse(), std::move(kv), progress_.pace()});
  }

  // Where the state can be cut, the prompt's end is enough.
  std::vector<std::int32_t> marks_of(const Prompt& prompt, std::span<const TokenId> tokens) {
    return engine_.kv_shape() != nullptr ? std::vector<std::int32_t>() : cache_marks(prompts_, prompt, tokens);
  }

  const Engine& engine_;
  const ChatTemplate& chat_;
  PromptReader prompts_;
  std::uint64_t answers_recognised_ = 0;
  WirePort& port_;
  Inbox& inbox_;
  Progress& progress_;
  std::mt19937_64 random_{std::random_device{}()};
};

// Everything that decides what the bytes of a block mean, and whether the same would be computed again.
Result<std::unique_ptr<BlockStore>> open_store(const WorkerOptions& options, const Engine& engine) {
  if (options.store.folder.empty()) return Error{ErrorCode::unavailable, "--store off"};
  const std::string layout = engine.kv_shape() != nullptr ? engine.kv_shape()->layout : engine.state_layout();
  if (layout.empty()) return Error{ErrorCode::unavailable, engine.kv_problem()};
  Files& files = real_files();
  if (Result<void> made = files.make_folder(options.store.folder); !made) return std::move(made).error();
  const auto identity = model_identity(files, options.model_path, options.store.folder);
  if (!identity) return identity.error();
  std::string projector;  // Other rows for the same image; without one the names stay as they were.
  if (!options.projector_path.empty()) {
    const auto file = model_identity(files, options.projector_path, options.store.folder);
    if (!file) return file.error();
    projector = fmt::format(R"(,"projector":"{}")", hex(*file));
  }
  const EngineFacts& facts = engine.facts();
  const std::string about = fmt::format(R"({{"model":"{}","file":"{}","engine":"{}","backends":"{}","exact":{},"layout":"{}"{}}})", json_safe(facts.name), hex(*identity),
                                        json_safe(options.engine_version), json_safe(facts.backends), options.exact, layout, projector);
  return BlockStore::open(files, options.store, fingerprint_of(about), about);
}

int last_word(WirePort& port, Error error) {
  log::error("{}", error.message);
  port.send(wire::Fatal{std::move(error)});
  no_last_words();
  return 1;
}

}  // namespace

int run_worker(const WorkerOptions& options, const EngineLoader& load) {
  WirePort port(options.in_fd, options.out_fd);
  speak_last_words_on(port);
  port.send(wire::Hello{wire::kProtocolVersion, kVersion, options.engine_version});

  int shown_percent = -1;
  auto engine = load([&](double progress) {
    const int percent = static_cast<int>(progress * 100);
    if (percent == shown_percent) return;
    shown_percent = percent;
    port.send(wire::Loading{progress});
  });
  if (!engine) return last_word(port, std::move(engine).error());
  const EngineFacts& facts = (*engine)->facts();
  auto chat = ChatTemplate::make(options.chat_template, facts.chat_template, (*engine)->vocabulary(), options.tool_syntax);
  if (!chat) return last_word(port, std::move(chat).error());

  const bool thinks = !chat->thinking_marks().open.empty() || &chat->tool_syntax() == &harmony_syntax();
  auto store = open_store(options, **engine);
  const std::string store_problem = store ? std::string() : store.error().message;
  if (!store && !options.store.folder.empty()) log::warn("store: off: {}", store_problem);
  // A state that cannot be cut is read again from a checkpoint, or not at all.
  const bool exact = options.exact && ((*engine)->kv_shape() != nullptr || store);
  const bool exact_tried = !facts.proof.empty() && options.exact_tried == facts.proof;

  port.send(wire::Ready{{facts.name, facts.architecture, facts.parameters, facts.file_bytes, facts.context_trained, (*engine)->vocabulary().size()},
                        facts.slots,
                        facts.context_tokens,
                        facts.kv_bytes,
                        facts.backends,
                        chat->name(),
                        chat->tool_syntax().name(),
                        thinks,
                        exact,
                        store ? options.store.folder : std::string(),
                        store_problem,
                        (*engine)->sight() != nullptr,
                        facts.proof});
  const ChatAbilities& abilities = chat->abilities();
  log::info("chat template {}: calls as {}, tools {}, system messages between turns {}, thinking {}", chat->name(), chat->tool_syntax().name(),
            abilities.tools ? "by the template" : "in words", abilities.system_inside ? "in place" : "in their neighbour",
            thinks ? "known to it" : "unknown to it");
  log::info("{} ({}): {} slots of {} tokens, KV cache {} MB, on {}", facts.name, facts.architecture, facts.slots, facts.context_tokens,
            facts.kv_bytes >> 20, facts.backends);

  Inbox inbox;
  Progress progress;
  std::unique_ptr<AnswerMemory> answers = store ? std::make_unique<AnswerMemory>(real_files(), (*store)->own_folder() + "/answers") : std::make_unique<AnswerMemory>();
  WireThread wire_thread(**engine, *chat, *answers, port, inbox, progress);
  std::jthread reader([&] { wire_thread.run(); });
  StepLoop(**engine, *chat, inbox, progress, port, *answers, store ? *std::move(store) : nullptr, exact, exact_tried).run();
  // The reader may sit in read(): leave without it. Everything reported is written.
  std::fflush(nullptr);
  std::_Exit(0);
}

}  // namespace pensieve
