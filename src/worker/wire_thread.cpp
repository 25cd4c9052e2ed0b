#include "worker/wire_thread.h"

#include "base/log.h"
#include "platform/memory.h"

namespace pensieve {

void WireThread::run() {
  while (std::optional<std::string> line = port_.read_line()) {
    if (line->empty()) continue;
    Result<wire::Command> command = wire::parse_command(*line);
    if (!command) {
      log::warn("a line on the wire was refused: {}", command.error().message);
      refuse(RequestId{0}, std::move(command).error());
      continue;
    }
    std::visit([this](auto& value) { handle(value); }, *command);
    if (std::holds_alternative<wire::Shutdown>(*command)) return;
  }
  inbox_.push(EndOfInput{});
}

void WireThread::handle(wire::Count& count) {
  auto counted = desk_.count(count);
  if (counted) port_.send(*counted);
  else refuse(count.id, std::move(counted).error());
}

void WireThread::handle(wire::Generate& generate) {
  if (Result<void> ready = desk_.prepare(generate); ready) inbox_.push(std::move(generate));
  else refuse(generate.request.id, std::move(ready).error());
}

void WireThread::handle(wire::Embed& embed) {
  if (Result<void> ready = desk_.prepare(embed); ready) inbox_.push(std::move(embed));
  else refuse(embed.request.id, std::move(ready).error());
}

void WireThread::handle(wire::Memory& memory) {
  log::info("memory: {}", memory.level);
  if (memory.level != "safe") return_freed_memory();
  inbox_.push(memory);  // What slots hold is the engine thread's.
}

void WireThread::handle(wire::Health&) {
  wire::KvFacts kv = progress_.kv();
  desk_.add_to(kv);
  port_.send(wire::HealthReport{"ready", progress_.running, progress_.waiting, progress_.steps, model_.pulse(), std::move(kv), progress_.pace()});
}

}  // namespace pensieve
