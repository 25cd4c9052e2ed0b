#include "worker/worker.h"

#include <fmt/format.h>

#include <thread>

#include "base/log.h"
#include "base/version.h"
#include "cache/model_identity.h"
#include "chat/chat_template.h"
#include "worker/embed_desk.h"
#include "worker/embed_loop.h"
#include "worker/generate_desk.h"
#include "worker/last_word.h"
#include "worker/step_loop.h"

namespace pensieve {
namespace {

std::string json_safe(std::string text) {
  std::erase_if(text, [](char c) { return c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32; });
  return text;
}

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

wire::Ready ready_of(const Model& model) {
  const EngineFacts& facts = model.facts();
  wire::Ready ready;
  ready.model = {facts.name, facts.architecture, facts.parameters, facts.file_bytes, facts.context_trained, model.vocabulary().size()};
  ready.slots = facts.slots;
  ready.context_tokens = facts.context_tokens;
  ready.kv_bytes = facts.kv_bytes;
  ready.backends = facts.backends;
  ready.proof = facts.proof;
  return ready;
}

// The wire thread may sit in read(): leave without it. Everything reported is written.
[[noreturn]] void leave() {
  std::fflush(nullptr);
  std::_Exit(0);
}

int generate(const WorkerOptions& options, Engine& engine, WirePort& port) {
  const EngineFacts& facts = engine.facts();
  auto chat = ChatTemplate::make(options.chat_template, facts.chat_template, engine.vocabulary(), options.tool_syntax);
  if (!chat) return last_word(port, std::move(chat).error());

  const bool thinks = !chat->thinking_marks().open.empty() || &chat->tool_syntax() == &harmony_syntax();
  auto store = open_store(options, engine);
  const std::string store_problem = store ? std::string() : store.error().message;
  if (!store && !options.store.folder.empty()) log::warn("store: off: {}", store_problem);
  // A state that cannot be cut is read again from a checkpoint, or not at all.
  const bool exact = options.exact && (engine.kv_shape() != nullptr || store);
  const bool exact_tried = !engine.facts().proof.empty() && options.exact_tried == engine.facts().proof;

  wire::Ready ready = ready_of(engine);
  ready.chat_template = chat->name();
  ready.tool_syntax = chat->tool_syntax().name();
  ready.thinks = thinks;
  ready.exact = exact;
  ready.store = store ? options.store.folder : std::string();
  ready.store_problem = store_problem;
  ready.sees = engine.sight() != nullptr;
  port.send(std::move(ready));
  const ChatAbilities& abilities = chat->abilities();
  log::info("chat template {}: calls as {}, tools {}, system messages between turns {}, thinking {}", chat->name(), chat->tool_syntax().name(),
            abilities.tools ? "by the template" : "in words", abilities.system_inside ? "in place" : "in their neighbour",
            thinks ? "known to it" : "unknown to it");
  log::info("{} ({}): {} slots of {} tokens, KV cache {} MB, on {}", facts.name, facts.architecture, facts.slots, facts.context_tokens,
            facts.kv_bytes >> 20, facts.backends);

  Inbox inbox;
  Progress progress;
  std::unique_ptr<AnswerMemory> answers = store ? std::make_unique<AnswerMemory>(real_files(), (*store)->own_folder() + "/answers") : std::make_unique<AnswerMemory>();
  GenerateDesk desk(engine, *chat, *answers);
  WireThread wire_thread(engine, desk, port, inbox, progress);
  StepLoop loop(engine, *chat, inbox, progress, port, *answers, store ? *std::move(store) : nullptr, exact, exact_tried);
  std::jthread reader([&] { wire_thread.run(); });  // Says of the loop what that published when it was made.
  loop.run();
  leave();
}

int embed(Embedder& embedder, WirePort& port) {
  const EngineFacts& facts = embedder.facts();
  wire::Ready ready = ready_of(embedder);
  ready.exact = true;  // An input is computed alone, and in the same steps.
  ready.store_problem = "an embedding model: no KV state is kept from one input to the next";
  ready.vector_size = facts.vector_size;
  ready.pooling = facts.pooling;
  port.send(std::move(ready));
  log::info("{} ({}): embeddings of {} numbers, pooling {}, inputs of up to {} tokens, on {}", facts.name, facts.architecture, facts.vector_size, facts.pooling, facts.context_tokens, facts.backends);

  Inbox inbox;
  Progress progress;
  EmbedDesk desk(embedder);
  WireThread wire_thread(embedder, desk, port, inbox, progress);
  std::jthread reader([&] { wire_thread.run(); });
  EmbedLoop(embedder, inbox, progress, port).run();
  leave();
}

}  // namespace

int run_worker(const WorkerOptions& options, const ModelLoader& load) {
  WirePort port(options.in_fd, options.out_fd);
  speak_last_words_on(port);
  port.send(wire::Hello{wire::kProtocolVersion, kVersion, options.engine_version});

  int shown_percent = -1;
  auto model = load([&](double progress) {
    const int percent = static_cast<int>(progress * 100);
    if (percent == shown_percent) return;
    shown_percent = percent;
    port.send(wire::Loading{progress});
  });
  if (!model) return last_word(port, std::move(model).error());
  if (auto* embedder = std::get_if<std::unique_ptr<Embedder>>(&*model)) return embed(**embedder, port);
  return generate(options, *std::get<std::unique_ptr<Engine>>(*model), port);
}

}  // namespace pensieve
