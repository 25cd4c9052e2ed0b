#include "api/anthropic/prompt_marks.h"

#include <algorithm>
#include <span>

#include "cache/checksum.h"

namespace pensieve::anthropic {
namespace {

// The end of a prompt that is run again anyway, or is too short for a file of its own, with a checkpoint before it
// (docs/kv_store.md).
constexpr std::int32_t kNoMiss = 150;

// The parts one after the other, each text behind its length, so that no two lists are alike.
class Mixer {
 public:
  Mixer& add(std::uint64_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Mixer& add(std::string_view text) {
    add(std::uint64_t{text.size()});
    bytes_ += text;
    return *this;
  }
  std::uint64_t value() const { return checksum_64(std::as_bytes(std::span(bytes_))); }

 private:
  std::string bytes_;
};

std::uint64_t hash_of(const Message& message, const std::vector<std::string>& images) {
  Mixer mixer;
  mixer.add(static_cast<std::uint64_t>(message.role));
  const auto image = [&](std::int32_t number) { return std::string_view(images[static_cast<std::size_t>(number)]); };
  for (const Block& block : message.blocks) {  // Cache marks are never rendered.
    mixer.add(std::uint64_t{block.content.index()});
    if (const auto* text = std::get_if<TextContent>(&block.content)) mixer.add(text->text);
    else if (const auto* thinking = std::get_if<ThinkingContent>(&block.content)) mixer.add(thinking->text);
    else if (const auto* call = std::get_if<ToolUseContent>(&block.content)) mixer.add(call->id).add(call->name).add(call->input);
    else if (const auto* result = std::get_if<ToolResultContent>(&block.content)) {
      mixer.add(result->tool_use_id).add(result->text).add(std::uint64_t{result->is_error});
      for (const std::string& reference : result->tool_references) mixer.add(reference);
      for (const ToolResultContent::Image& shown : result->images) mixer.add(std::uint64_t{shown.offset}).add(image(shown.image));
    } else if (const auto* shown = std::get_if<ImageContent>(&block.content)) {
      mixer.add(image(shown->image));
    }
  }
  return mixer.value();
}

}  // namespace

PromptMarks marks_of(const Prompt& prompt, std::string_view loaded_model) {
  PromptMarks marks;
  marks.model = Mixer().add(loaded_model).value();
  Mixer system, tools;
  for (const Message& message : prompt.messages) {
    const bool leads = message.role == Role::system && marks.messages.empty();
    if (leads) system.add(hash_of(message, prompt.images));
    else marks.messages.push_back(hash_of(message, prompt.images));
  }
  marks.system = system.value();
  for (const Tool& tool : prompt.tools) tools.add(tool.name).add(tool.description).add(tool.input_schema).add(std::uint64_t{tool.deferred});
  marks.tools = tools.value();
  return marks;
}

void PromptMemory::keep(std::string message_id, PromptMarks marks, std::int32_t input_tokens) {
  kept_.push_back({std::move(message_id), std::move(marks), input_tokens});
  if (kept_.size() > kPromptsKept) kept_.pop_front();
}

std::optional<CacheMiss> PromptMemory::compare(const std::string& previous_id, const PromptMarks& now, const Started& started) const {
  const auto previous = std::ranges::find(kept_, previous_id, &Kept::message_id);
  if (previous == kept_.end()) return CacheMiss{"previous_message_not_found", {}};
  const PromptMarks& before = previous->marks;
  const std::int32_t missed = std::max(0, previous->input_tokens - started.cached_tokens);
  const auto changed = [&](const char* type) { return CacheMiss{type, missed}; };
  if (before.model != now.model) return changed("model_changed");
  if (before.system != now.system) return changed("system_changed");
  if (before.tools != now.tools) return changed("tools_changed");
  const bool appended = before.messages.size() <= now.messages.size() && std::ranges::equal(before.messages, std::span(now.messages).first(before.messages.size()));
  if (!appended) return changed("messages_changed");
  // The same words in front: it was evicted, is still being stored, or another setting renders them otherwise.
  if (missed > kNoMiss) return CacheMiss{"unavailable", {}};
  return std::nullopt;
}

}  // namespace pensieve::anthropic
