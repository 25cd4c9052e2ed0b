// `pensieve plan MODEL`: what a model would need, from its file's header alone.
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "base/size_text.h"
#include "budgeting.h"
#include "catalogue/model_plan.h"
#include "commands.h"
#include "platform/memory.h"

namespace pensieve {
namespace {

void print_json(const ModelPlan& plan, const std::optional<std::uint64_t>& available, const Result<Budget>& budget) {
  const nlohmann::ordered_json json = {{"name", plan.name},
                                       {"architecture", plan.architecture},
                                       {"parameters", plan.parameters},
                                       {"file_bytes", plan.file_bytes},
                                       {"context_trained", plan.context_trained},
                                       {"layers", plan.layers},
                                       {"makes_embeddings", plan.embeds},
                                       {"kv_bytes_per_token", {{"f16", plan.kv_bytes_per_token_f16}, {"q8_0", plan.kv_bytes_per_token_q8_0}}},
                                       {"context_tokens", plan.context_tokens},
                                       {"slots", plan.slots},
                                       {"kv_bytes", plan.kv_bytes},
                                       {"total_bytes", plan.total_bytes},
                                       {"available_bytes", available ? nlohmann::ordered_json(*available) : nlohmann::ordered_json()},
                                       {"budget", budget ? nlohmann::ordered_json::parse(json_of(*budget)) : nlohmann::ordered_json()},
                                       {"problem", budget ? nlohmann::ordered_json() : nlohmann::ordered_json(budget.error().message)}};
  std::cout << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

}  // namespace

int plan(const PlanOptions& options) {
  const auto path = resolve_model("", options.model);
  if (!path) {
    std::cerr << "pensieve plan: MODEL " << path.error().message << '\n';
    return 1;
  }
  const auto header = read_gguf_header(*path);
  if (!header) {
    std::cerr << "pensieve plan: MODEL " << header.error().message << '\n';
    return 1;
  }
  const auto made = plan_model(*header, options.context_tokens, options.slots);
  if (!made) {
    std::cerr << "pensieve plan: MODEL '" << options.model << "': " << made.error().message << '\n';
    return 1;
  }
  const auto available = available_memory_bytes();
  const Result<Budget> budget = budget_for(options, *path);
  if (options.json) {
    print_json(*made, available, budget);
    return budget ? 0 : 1;
  }
  std::cout << fmt::format("{}  ({})\n", made->name.empty() ? options.model : made->name, made->architecture)
            << fmt::format("  parameters       {:.3g} million\n", static_cast<double>(made->parameters) / 1e6)
            << fmt::format("  weights          {}\n", size_text(made->file_bytes))
            << fmt::format("  trained context  {} tokens\n", made->context_trained)
            << (made->embeds ? std::string("  makes embeddings\n") : fmt::format("  KV cache         {} a token in f16, {} in q8_0\n", size_text(made->kv_bytes_per_token_f16), size_text(made->kv_bytes_per_token_q8_0)));
  if (available) std::cout << fmt::format("  available now    {}\n", size_text(*available));
  if (!budget) {
    std::cerr << "pensieve plan: " << budget.error().message << '\n';
    return 1;
  }
  std::cout << budget->table() << fmt::format("  serve chooses     --context {} --slots {} --kv-type {}\n", budget->context_tokens, budget->slots, budget->kv_type);
  return 0;
}

}  // namespace pensieve
