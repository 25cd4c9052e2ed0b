#include "budget/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/size_text.h"

namespace pensieve {
namespace {

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kKvBytesAuto = std::uint64_t{1} << 30;
constexpr std::uint64_t kContextMin = 512;
constexpr std::uint64_t kContextAutoMax = 32768;  // As the worker by itself.
constexpr std::uint64_t kContextGrain = 256;
constexpr std::uint64_t kEmbedContextAutoMax = 8192;  // Of an input, as the worker by itself.
constexpr std::uint64_t kStepRows = 512;       // Of the engine (llama_engine.cpp).
constexpr std::uint64_t kExportTokens = 256;   // A block of the KV store.
constexpr std::uint64_t kReadBackTokens = kExportTokens / 8;  // kv_keeper.cpp: kBufferShare
constexpr std::uint64_t kServerBytes = 24 * kMiB;
constexpr std::uint64_t kWorkerHeapBytes = 14 * kMiB;  // Graph descriptions, chat template, tokens of known text (3 MiB), allocator slack.
constexpr std::uint64_t kStackBytes = 8 * kMiB;        // Of a thread, as RLIMIT_DATA counts it.

std::uint64_t up(double bytes) { return bytes <= 0 ? 0 : static_cast<std::uint64_t>(std::ceil(bytes)); }

// What the processor backend takes for itself in a step: attention weights or activations in the
// type that the matrix kernels read (half precision at most).
std::uint64_t work_bytes(const ModelNeeds& needs, const KvNeeds& kv, std::uint64_t context) {
  const std::uint64_t rows = kv.whole_steps ? context : kStepRows;
  const std::uint64_t attention = kv.attention_matrix ? context * rows * needs.heads * 2 : 0;
  const std::uint64_t activations = rows * needs.embedding * 4 * 2;  // Feed-forward widths are about four embeddings.
  return std::max(attention, activations);
}

// The part of the ceiling that requests may reserve: three bodies of the largest size are being read
// or worked on (a body is held as bytes, as values and as the line to the worker).
std::uint64_t requests_bytes(const Wishes& wishes) { return 3 * wishes.body_bytes_max + 16 * kMiB; }

struct Choice {
  std::string kv_type;
  std::uint64_t context = 0;
  std::uint64_t slots = 0;
};

Budget sum(const ModelNeeds& needs, const Wishes& wishes, const Choice& choice) {
  const bool q8 = choice.kv_type == "q8_0";
  const KvNeeds& kv = q8 ? *needs.q8_0 : *needs.f16;
  const auto tokens = static_cast<double>(choice.context);
  const bool embeds = needs.vector_size > 0;
  const double slot_kv_bytes = kv.kv_bytes(tokens) / static_cast<double>(embeds ? 1 : needs.slots_asked);
  const std::uint64_t kv_bytes = up(slot_kv_bytes * static_cast<double>(embeds ? 1 : choice.slots));
  Budget budget;
  budget.context_tokens = choice.context;
  budget.slots = choice.slots;
  budget.kv_type = choice.kv_type;
  budget.ceiling_bytes = wishes.ceiling_bytes;
  budget.requests_bytes = requests_bytes(wishes);
  const auto add = [&](std::string name, std::uint64_t bytes, std::string note) { budget.lines.push_back({std::move(name), bytes, std::move(note)}); };
  add("weights", needs.file_bytes, "mapped from the file");
  if (embeds) add("KV cache", kv_bytes, fmt::format("one input of {} tokens at a time{}", choice.context, kv_bytes == 0 ? ", an encoder" : ""));
  else add("KV cache", kv_bytes, fmt::format("{} slots of {} tokens, {}, {} a token", choice.slots, choice.context, choice.kv_type, size_text(up(slot_kv_bytes / tokens))));
  add("compute buffers", up(kv.compute_bytes(tokens)), "the engine's own sum");
  add("engine work area", work_bytes(needs, kv, choice.context), kv.attention_matrix && needs.heads > 0 ? "attention weights of one step" : "activations");
  if (embeds) add("worker process", needs.process_bytes + kWorkerHeapBytes, "libraries, vocabulary");
  else add("worker process", needs.process_bytes + kWorkerHeapBytes + choice.slots * needs.vocabulary * 16, "libraries, vocabulary, samplers");
  if (needs.sight_bytes > 0) add("sight", needs.sight_bytes, "projector, its buffers, an image being read");
  if (embeds) add("KV export", 0, "nothing is kept of an input");
  else if (kv.whole_states) add("KV export", up(2 * slot_kv_bytes), "two slots' whole states on their way to and from the store");
  else add("KV export", up(slot_kv_bytes * std::min(1.0, static_cast<double>(2 * kExportTokens + kReadBackTokens) / tokens)), fmt::format("two blocks of {} tokens on their way to the store, an eighth of one on its way back", kExportTokens));
  add("requests", budget.requests_bytes, "bodies, prompts, streams that wait for their readers");
  add("server", kServerBytes, "");
  for (const Budget::Line& line : budget.lines) budget.total_bytes += line.bytes;
  const std::uint64_t not_the_workers = needs.file_bytes + kServerBytes + budget.requests_bytes / 2;
  const std::uint64_t workers = std::max(budget.total_bytes, wishes.ceiling_bytes) - not_the_workers;
  budget.data_bytes_max = workers + kStackBytes * (wishes.threads + 4);
  budget.worker_bytes_max = workers + needs.file_bytes;
  return budget;
}

std::uint64_t wanted_context(const ModelNeeds& needs, const Wishes& wishes) {
  if (needs.vector_size > 0) {  // Never beyond what it was trained for (engine/llama_embedder.cpp).
    const std::uint64_t wanted = wishes.context_tokens > 0 ? wishes.context_tokens : kEmbedContextAutoMax;
    return std::min(wanted, std::max<std::uint64_t>(needs.context_trained, 1));
  }
  if (wishes.context_tokens > 0) return wishes.context_tokens;
  std::uint64_t wanted = wishes.context_wanted;
  if (wanted == 0) {
    const KvNeeds& kv = needs.f16 ? *needs.f16 : *needs.q8_0;
    const double slots_share = static_cast<double>(wishes.slots) / static_cast<double>(needs.slots_asked);
    const auto fits = [&](std::uint64_t context) { return kv.kv_bytes(static_cast<double>(context)) * slots_share <= static_cast<double>(kKvBytesAuto); };
    wanted = kContextAutoMax;
    while (wanted > kContextMin && !fits(wanted)) wanted -= kContextGrain;
  }
  wanted = std::min(wanted, std::max(needs.context_trained, kContextMin));
  return std::max(wanted / kContextGrain * kContextGrain, kContextMin);
}

std::vector<std::string> kv_types(const ModelNeeds& needs, const Wishes& wishes) {
  std::vector<std::string> types;
  if (needs.f16 && wishes.kv_type != "q8_0") types.emplace_back("f16");
  if (needs.q8_0 && wishes.kv_type != "f16") types.emplace_back("q8_0");
  return types;
}

using Value = double KvNeeds::Point::*;

double on_line(const KvNeeds::Point& a, const KvNeeds::Point& b, double context, Value value) {
  return a.*value + (b.*value - a.*value) * (context - a.context) / (b.context - a.context);
}

// The first point of the pair around the context, or of the nearest.
std::size_t pair_at(const std::vector<KvNeeds::Point>& points, double context) {
  std::size_t i = 0;
  while (i + 2 < points.size() && points[i + 1].context < context) ++i;
  return i;
}

}  // namespace

// Where a curve bends down, the lines of the pairs beside this one pass above it, and meet in the bend when it has one.
double KvNeeds::kv_bytes(double context) const {
  const std::size_t i = pair_at(points, context);
  if (context == points[i].context) return points[i].kv;
  if (context == points[i + 1].context) return points[i + 1].kv;
  if (context < points.front().context) return points.front().kv;
  double least = context > points.back().context || points.size() == 2 ? on_line(points[i], points[i + 1], context, &Point::kv) : points[i + 1].kv;
  if (context < points.back().context) {
    if (i > 0) least = std::min(least, on_line(points[i - 1], points[i], context, &Point::kv));
    if (i + 2 < points.size()) least = std::min(least, on_line(points[i + 1], points[i + 2], context, &Point::kv));
  }
  return least;
}

double KvNeeds::compute_bytes(double context) const {
  const std::size_t i = pair_at(points, context);
  return std::max(points.front().compute, on_line(points[i], points[i + 1], context, &Point::compute));
}

std::string Budget::table() const {
  std::string text;
  for (const Line& line : lines) text += fmt::format("  {:<17} {:>10}  {}\n", line.name, size_text(line.bytes), line.note);
  text += fmt::format("  {:<17} {:>10}  of {} (--memory)\n", "sum", size_text(total_bytes), size_text(ceiling_bytes));
  return text;
}

Result<ModelNeeds> parse_needs(std::string_view text, std::uint64_t file_bytes, std::uint64_t slots_asked) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const Error wrong{ErrorCode::corrupt, "the worker's plan is not what was expected"};
  if (!json.is_object() || !json.contains("variants") || !json["variants"].is_array()) return wrong;
  const auto number = [](const nlohmann::json& object, const char* key) -> std::uint64_t {
    const auto found = object.find(key);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
  };
  ModelNeeds needs;
  needs.file_bytes = file_bytes;
  needs.slots_asked = std::max<std::uint64_t>(1, slots_asked);
  needs.process_bytes = number(json, "process_bytes");
  needs.context_trained = number(json, "context_trained");
  needs.heads = number(json, "heads");
  needs.embedding = number(json, "embedding");
  needs.vocabulary = number(json, "vocabulary");
  needs.sight_bytes = number(json, "sight_bytes");
  needs.vector_size = number(json, "vector_size");
  for (const char* type : {"f16", "q8_0"}) {
    KvNeeds kv;
    for (const auto& variant : json["variants"]) {
      if (!variant.is_object() || variant.value("kv_type", "") != type) continue;
      kv.attention_matrix = kv.attention_matrix || variant.value("attention_matrix", false);
      kv.whole_steps = kv.whole_steps || variant.value("whole_steps", false);
      kv.whole_states = kv.whole_states || variant.value("whole_states", false);
      kv.points.push_back({static_cast<double>(number(variant, "context_tokens")), static_cast<double>(number(variant, "kv_bytes")),
                        static_cast<double>(number(variant, "compute_bytes"))});
    }
    std::ranges::sort(kv.points, {}, &KvNeeds::Point::context);
    kv.points.erase(std::unique(kv.points.begin(), kv.points.end(), [](const auto& a, const auto& b) { return a.context == b.context; }), kv.points.end());
    // Trained for so little that there is no other context.
    if (needs.vector_size > 0 && kv.points.size() == 1) kv.points.push_back({kv.points[0].context + 1, kv.points[0].kv, kv.points[0].compute});
    if (kv.points.size() < 2) continue;
    (type == std::string_view("f16") ? needs.f16 : needs.q8_0) = kv;
  }
  if (!needs.f16 && !needs.q8_0) return wrong;
  return needs;
}

Result<Budget> make_budget(const ModelNeeds& needs, const Wishes& wishes) {
  const std::vector<std::string> types = kv_types(needs, wishes);
  if (types.empty()) return Error{ErrorCode::invalid_argument, fmt::format("--kv-type {}: this model cannot have it", wishes.kv_type)};
  const std::uint64_t wanted = wanted_context(needs, wishes);
  // In this order: the wish in f16, in q8_0, then ever shorter contexts, then fewer slots.
  const std::uint64_t slots_least = wishes.slots_fixed ? wishes.slots : 1;
  for (std::uint64_t slots = wishes.slots; slots >= slots_least; --slots) {
    for (const std::string& type : types) {
      Budget budget = sum(needs, wishes, {type, wanted, slots});
      if (budget.total_bytes <= wishes.ceiling_bytes) return budget;
    }
    if (wishes.context_tokens > 0) continue;
    // Shorter, of the smallest type, by halving the interval: the sum grows with the context.
    std::uint64_t low = kContextMin / kContextGrain, high = wanted / kContextGrain;
    if (sum(needs, wishes, {types.back(), low * kContextGrain, slots}).total_bytes > wishes.ceiling_bytes) continue;
    while (high - low > 1) {
      const std::uint64_t middle = (low + high) / 2;
      (sum(needs, wishes, {types.back(), middle * kContextGrain, slots}).total_bytes <= wishes.ceiling_bytes ? low : high) = middle;
    }
    return sum(needs, wishes, {types.back(), low * kContextGrain, slots});
  }
  const std::uint64_t context_least = wishes.context_tokens > 0 ? wishes.context_tokens : kContextMin;
  const Budget least = sum(needs, wishes, {types.back(), context_least, slots_least});
  const std::uint64_t enough = (least.total_bytes + kMiB - 1) / kMiB;
  return Error{ErrorCode::invalid_argument,
               fmt::format("the model does not fit under the ceiling; the least that it needs:\n{}--memory {}M would do{}", least.table(), enough,
                           wishes.context_tokens > 0 ? ", or a smaller --context" : wishes.slots_fixed && wishes.slots > 1 ? ", or fewer --slots" : "")};
}

std::uint64_t default_ceiling(std::uint64_t available_bytes, std::uint64_t machine_bytes) {
  const std::uint64_t margin = std::min<std::uint64_t>(1'000'000'000, machine_bytes / 8);
  return available_bytes > margin ? available_bytes - margin : 0;
}

}  // namespace pensieve
