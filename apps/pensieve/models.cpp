// The catalogue's commands: what is there, what it needs, and how it gets here.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>

#include "base/size_text.h"
#include "budgeting.h"
#include "catalogue/import.h"
#include "catalogue/known_models.h"
#include "catalogue/model_plan.h"
#include "catalogue/model_store.h"
#include "catalogue/pull.h"
#include "commands.h"

namespace pensieve {
namespace {

using nlohmann::ordered_json;

constexpr std::uint64_t kUsualTokens = 16384;  // One conversation of an agent, a short one.

ModelStore store_of(const std::string& models) {
  return ModelStore(models.empty() ? ModelStore::standard_root([](const char* name) { return std::getenv(name); }) : std::filesystem::path(models));
}

int failed(const char* command, const Error& error) {
  std::cerr << "pensieve " << command << ": " << error.message << '\n';
  return error.code == ErrorCode::invalid_argument ? 2 : 1;
}

struct Inspected {
  StoredModel model;
  ModelPlan plan;
  std::string problem;  // Why there is no plan.
  std::uint64_t ceiling_bytes = 0;
  std::optional<Budget> budget;  // What serve would choose under the ceiling.
  std::string no_budget;         // Why there is none: the sum that does not fit, or what the worker said.
};

// All parts together; the KV cache of one conversation of kUsualTokens, or of what the model was trained for.
Inspected inspect(StoredModel model, const ModelsOptions& options, std::uint64_t ceiling_bytes) {
  Inspected seen;
  seen.ceiling_bytes = ceiling_bytes;
  const auto header = read_gguf_header(model.path());
  if (!header) {
    seen.problem = header.error().message;
  } else if (auto plan = plan_model(*header, kUsualTokens, 1); !plan) {
    seen.problem = plan.error().message;
  } else {
    seen.plan = *std::move(plan);
    seen.plan.context_tokens = std::min(kUsualTokens, seen.plan.context_trained);
    seen.plan.file_bytes = model.bytes();
    seen.plan.kv_bytes = seen.plan.kv_bytes_per_token_f16 * seen.plan.context_tokens;
    seen.plan.total_bytes = seen.plan.file_bytes + seen.plan.kv_bytes;
    PlanOptions asked;
    asked.memory = options.memory;
    asked.worker = options.worker;
    if (auto budget = budget_for(asked, model.path())) seen.budget = *std::move(budget);
    else seen.no_budget = budget.error().message;
  }
  seen.model = std::move(model);
  return seen;
}

std::string choice_text(const Budget& budget) {
  return fmt::format("fits: {} of {} tokens, KV {}", budget.slots == 1 ? "one conversation" : fmt::format("{} conversations", budget.slots), budget.context_tokens, budget.kv_type);
}

ordered_json json_of(const Inspected& seen) {
  ordered_json files = ordered_json::array();
  for (const StoredFile& file : seen.model.files) files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  ordered_json json = {{"name", seen.model.name}, {"path", seen.model.path()}, {"bytes", seen.model.bytes()}, {"source", seen.model.source}, {"licence", seen.model.licence}, {"files", files}};
  if (!seen.problem.empty()) {
    json["problem"] = seen.problem;
    return json;
  }
  json["architecture"] = seen.plan.architecture;
  json["parameters"] = seen.plan.parameters;
  json["context_trained"] = seen.plan.context_trained;
  json["kv_bytes_per_token_f16"] = seen.plan.kv_bytes_per_token_f16;
  json["context_tokens"] = seen.plan.context_tokens;
  json["memory_bytes"] = seen.plan.total_bytes;
  json["ceiling_bytes"] = seen.ceiling_bytes;
  json["fits"] = seen.budget.has_value();
  json["budget"] = seen.budget ? ordered_json::parse(json_of(*seen.budget)) : ordered_json();
  if (!seen.budget) json["why_not"] = seen.no_budget;
  return json;
}

void print(const ordered_json& json) { std::cout << json.dump(2, ' ', false, ordered_json::error_handler_t::replace) << '\n'; }

void print_known() {
  std::cout << fmt::format("{:<22} {:>10} {:>9} {:>16}  {:<13} {}\n", "NAME", "DOWNLOAD", "CONTEXT", fmt::format("MEMORY AT {}k", kUsualTokens / 1024), "LICENCE", "FROM");
  for (const KnownModel& known : known_models()) {
    std::cout << fmt::format("{:<22} {:>10} {:>9} {:>16}  {:<13} hf:{}:{}\n", known.name, size_text(known.bytes), known.context,
                             size_text(known.memory_bytes(kUsualTokens)), known.licence, known.repository, known.quantisation);
  }
  std::cout << "Sizes are about right. Any other GGUF: pensieve pull hf:OWNER/REPO[:QUANT], or the address of a file.\n";
}

std::string duration(double seconds) {
  const auto whole = static_cast<long>(std::clamp(seconds, 0.0, 359999.0));
  return whole >= 3600 ? fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60) : fmt::format("{}:{:02}", whole / 60, whole % 60);
}

// A bar in a terminal, a line for each tenth elsewhere.
class Bar {
 public:
  void show(const PullProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    const auto [phase, done, total] = progress.of_file;
    if (progress.number != number_ || phase != phase_) {
      number_ = progress.number;
      phase_ = phase;
      begin_ = now;
      begin_done_ = done;
      tenth_ = -1;
      shown_ = {};
    }
    const double share = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double speed = seconds > 0 ? static_cast<double>(done - std::min(done, begin_done_)) / seconds : 0;
    const std::string left = speed > 0 ? duration(static_cast<double>(total - done) / speed) : "-:--";
    const std::string what = fmt::format("{}{}{}", phase == TransferProgress::Phase::checking ? "checking " : "", progress.file,
                                         progress.count > 1 ? fmt::format(" ({}/{})", progress.number, progress.count) : "");
    const std::string figures = fmt::format("{:3.0f} %  {} of {}  {}/s  {} left", share * 100, size_text(done), size_text(total), size_text(static_cast<std::uint64_t>(speed)), left);
    if (terminal_) {
      if (now - shown_ < std::chrono::milliseconds(100) && done < total) return;
      const auto filled = static_cast<std::size_t>(share * 24);
      std::cerr << fmt::format("\r\033[K{} [{}{}] {}", what, std::string(filled, '#'), std::string(24 - filled, '.'), figures) << (done == total ? "\n" : "") << std::flush;
      shown_ = now;
    } else if (const int tenth = static_cast<int>(share * 10); tenth != tenth_) {
      tenth_ = tenth;
      std::cerr << fmt::format("{}: {}\n", what, figures);
    }
  }

 private:
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  std::size_t number_ = 0;
  TransferProgress::Phase phase_ = TransferProgress::Phase::loading;
  std::chrono::steady_clock::time_point begin_;
  std::chrono::steady_clock::time_point shown_;
  std::uint64_t begin_done_ = 0;
  int tenth_ = -1;
};

}  // namespace

Result<std::string> resolve_model(const std::string& models, const std::string& text) { return store_of(models).resolve(text); }

int list_models(const ModelsOptions& options) {
  const ModelStore store = store_of(options.models);
  const auto aliases = store.aliases();
  if (!aliases) return failed("ls", aliases.error());
  const auto ceiling = ceiling_from(options.memory);
  if (!ceiling) return failed("ls", ceiling.error());
  std::vector<Inspected> models;
  for (StoredModel& model : store.list()) models.push_back(inspect(std::move(model), options, *ceiling));
  if (options.json) {
    ordered_json list = ordered_json::array();
    for (const Inspected& seen : models) list.push_back(json_of(seen));
    print({{"folder", store.root().string()}, {"models", list}, {"aliases", *aliases}});
    return 0;
  }
  if (models.empty()) std::cout << fmt::format("No model in '{}'. 'pensieve pull' lists the known ones.\n", store.root().string());
  else std::cout << fmt::format("{:<32} {:>10}  {:<12} {:>9} {:>14}  {}\n", "NAME", "SIZE", "KIND", "CONTEXT", fmt::format("MEMORY AT {}k", kUsualTokens / 1024), fmt::format("UNDER {}", size_text(*ceiling)));
  for (const Inspected& seen : models) {
    if (!seen.problem.empty()) {
      std::cout << fmt::format("{:<32} {:>10}  unusable: {}\n", seen.model.name, size_text(seen.model.bytes()), seen.problem);
      continue;
    }
    std::cout << fmt::format("{:<32} {:>10}  {:<12} {:>9} {:>14}  {}\n", seen.model.name, size_text(seen.model.bytes()), seen.plan.architecture, seen.plan.context_trained,
                             size_text(seen.plan.total_bytes), seen.budget ? choice_text(*seen.budget) : "does not fit");
  }
  for (const auto& [pattern, target] : *aliases) std::cout << fmt::format("{} -> {}\n", pattern, target);
  return 0;
}

int show_model(const ModelsOptions& options) {
  const ModelStore store = store_of(options.models);
  auto found = store.find(options.name);
  if (!found) {
    const KnownModel* known = find_known_model(options.name);
    if (known == nullptr) return failed("show", found.error());
    if (options.json) {
      print({{"name", known->name}, {"pulled", false}, {"source", fmt::format("hf:{}:{}", known->repository, known->quantisation)}, {"bytes", known->bytes},
             {"licence", known->licence}, {"context_trained", known->context}, {"kv_bytes_per_token_f16", known->kv_bytes_per_token}, {"memory_bytes", known->memory_bytes(kUsualTokens)}});
      return 0;
    }
    std::cout << fmt::format("{} (not here; 'pensieve pull {}')\n  from      hf:{}:{}\n  download  about {}\n  licence   {}\n  context   {} tokens\n  KV cache  {} a token in f16\n  memory    about {} at {} tokens\n",
                             known->name, known->name, known->repository, known->quantisation, size_text(known->bytes), known->licence, known->context,
                             size_text(known->kv_bytes_per_token), size_text(known->memory_bytes(kUsualTokens)), kUsualTokens);
    return 0;
  }
  const auto ceiling = ceiling_from(options.memory);
  if (!ceiling) return failed("show", ceiling.error());
  const Inspected seen = inspect(*std::move(found), options, *ceiling);
  if (options.json) {
    print(json_of(seen));
    return 0;
  }
  const StoredModel& model = seen.model;
  std::cout << model.name << '\n';
  if (!model.source.empty()) std::cout << "  from      " << model.source << '\n';
  if (!model.licence.empty()) std::cout << "  licence   " << model.licence << '\n';
  for (const StoredFile& file : model.files) {
    std::cout << fmt::format("  file      {} ({}){}\n", (model.folder / file.name).string(), size_text(file.bytes), file.sha256.empty() ? "" : "  sha256 " + file.sha256);
  }
  if (!seen.problem.empty()) {
    std::cout << "  unusable: " << seen.problem << '\n';
    return 1;
  }
  std::cout << fmt::format("  kind      {}, {:.4g} million parameters\n", seen.plan.architecture, static_cast<double>(seen.plan.parameters) / 1e6)
            << fmt::format("  context   {} tokens\n", seen.plan.context_trained)
            << fmt::format("  KV cache  {} a token in f16, {} in q8_0\n", size_text(seen.plan.kv_bytes_per_token_f16), size_text(seen.plan.kv_bytes_per_token_q8_0))
            << fmt::format("  memory    {} with one conversation of {} tokens, and the engine's working memory\n", size_text(seen.plan.total_bytes), seen.plan.context_tokens);
  if (seen.budget) std::cout << fmt::format("  under {:<8}  {}; {} in all\n", size_text(*ceiling), choice_text(*seen.budget), size_text(seen.budget->total_bytes));
  else std::cout << fmt::format("  under {}: {}\n", size_text(*ceiling), seen.no_budget);
  return 0;
}

int remove_model(const ModelsOptions& options) {
  const auto removed = store_of(options.models).remove(options.name);
  if (!removed) return failed("rm", removed.error());
  std::cout << "removed " << options.name << '\n';
  return 0;
}

int alias_model(const ModelsOptions& options) {
  ModelStore store = store_of(options.models);
  if (options.name.empty()) {
    const auto aliases = store.aliases();
    if (!aliases) return failed("alias", aliases.error());
    for (const auto& [pattern, target] : *aliases) std::cout << fmt::format("{} -> {}\n", pattern, target);
    return 0;
  }
  if (options.remove == !options.target.empty()) return failed("alias", {ErrorCode::invalid_argument, "give ALIAS and MODEL, or ALIAS and --remove"});
  const auto changed = options.remove ? store.remove_alias(options.name) : store.set_alias(options.name, options.target);
  return changed ? 0 : failed("alias", changed.error());
}

int pull(const ModelsOptions& options, const std::string& own_path) {
  if (options.name.empty()) {
    print_known();
    return 0;
  }
  ModelStore store = store_of(options.models);
  PullOptions asked;
  asked.what = options.name;
  asked.name = options.as;
  asked.sha256 = options.sha256;
  asked.transfer.connections = options.connections;
  asked.transfer.chunk_bytes = static_cast<std::uint64_t>(options.chunk_mb) << 20;
  asked.transfer.stall = std::chrono::seconds(options.stall_seconds);
  if (const char* endpoint = std::getenv("HF_ENDPOINT"); endpoint != nullptr && *endpoint != '\0') asked.endpoint = endpoint;
  while (asked.endpoint.ends_with('/')) asked.endpoint.pop_back();
  for (const char* variable : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}) {
    if (const char* token = std::getenv(variable); token != nullptr && asked.transfer.token.empty()) asked.transfer.token = token;
  }
  asked.transfer.token_host = asked.endpoint;
  Bar bar;
  if (!known_quantisation(options.quantisation)) return failed("pull", {ErrorCode::invalid_argument, fmt::format("--quant: '{}' is not known; 'pensieve import --help' lists them", options.quantisation)});
  const auto import = [&](const std::string& folder, const std::string& name, const std::string& source) -> Result<StoredModel> {
    ImportOptions how;
    how.folder = folder;
    how.name = name;
    how.source = source;
    how.quantisation = options.quantisation;
    how.quantise = [&](const std::string& from, const std::string& to, const std::string& type) { return quantise_file(own_path, from, to, type); };
    std::cerr << "importing the checkpoint ...\n";
    auto report = import_checkpoint(store, how, [](std::uint64_t, std::uint64_t) {});
    if (!report) return std::move(report).error();
    std::cout << fmt::format("largest difference between a weight of the checkpoint and the one written: {:.3g}; {} numbers too large for a half\n", report->error_max, report->overflows);
    return report->model;
  };
  const auto pulled = pull_model(store, asked, [&](const PullProgress& progress) { bar.show(progress); }, import);
  if (!pulled) return failed("pull", pulled.error());
  std::cout << fmt::format("{} {} ({}); serve it: pensieve serve --model {}\n", pulled->model.name, pulled->was_there ? "is there already" : "is here", size_text(pulled->model.bytes()), pulled->model.name);
  if (!pulled->checked) std::cout << "Nobody gave a hash for it: only its size and its header were looked at. --sha256 gives one.\n";
  return 0;
}

}  // namespace pensieve
