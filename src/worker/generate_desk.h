// Prompts become tokens, settings whole: what a request to generate is before it is run.
//
//   Threads  the wire thread.
#pragma once

#include <random>

#include "worker/prompt_reader.h"
#include "worker/wire_thread.h"

namespace pensieve {

class GenerateDesk final : public Desk {
 public:
  GenerateDesk(const Engine& engine, const ChatTemplate& chat, const AnswerMemory& answers) : engine_(engine), chat_(chat), prompts_(chat, engine.vocabulary(), answers, engine.sight()) {}

  Result<wire::Counted> count(const wire::Count& count) override;
  Result<void> prepare(wire::Generate& generate) override;
  Result<void> prepare(wire::Embed& embed) override;
  void add_to(wire::KvFacts& facts) const override { facts.answers_recognised = answers_recognised_; }

 private:
  std::vector<std::int32_t> marks_of(const Prompt& prompt, std::span<const TokenId> tokens);

  const Engine& engine_;
  const ChatTemplate& chat_;
  PromptReader prompts_;
  std::uint64_t answers_recognised_ = 0;
  std::mt19937_64 random_{std::random_device{}()};
};

}  // namespace pensieve
