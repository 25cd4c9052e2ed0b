#include "worker/cache_marks.h"

#include <algorithm>

namespace pensieve {
namespace {

// Neither the rest of a word nor what a prompt goes on with.
constexpr const char* kOther = "\xC2\xA6\xC2\xA6";

struct Place {
  std::optional<std::size_t> tool;  // Else a block of a message.
  std::size_t message = 0;
  std::size_t block = 0;
};

std::vector<Place> marked(const Prompt& prompt) {
  std::vector<Place> places;
  for (std::size_t i = 0; i < prompt.tools.size(); ++i) {
    if (prompt.tools[i].cache_mark) places.push_back({i, 0, 0});
  }
  for (std::size_t m = 0; m < prompt.messages.size(); ++m) {
    const std::vector<Block>& blocks = prompt.messages[m].blocks;
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      const bool at_the_end = m + 1 == prompt.messages.size() && b + 1 == blocks.size();
      if (blocks[b].cache_mark && !at_the_end) places.push_back({std::nullopt, m, b});
    }
  }
  if (places.size() > kCacheMarksMax) places.erase(places.begin(), places.end() - kCacheMarksMax);
  return places;
}

// The prompt with something behind what is marked.
Prompt altered(Prompt prompt, const Place& place) {
  if (place.tool) {
    prompt.tools.insert(prompt.tools.begin() + static_cast<std::ptrdiff_t>(*place.tool) + 1, Tool{kOther, kOther, R"({"type":"object"})"});
    return prompt;
  }
  std::vector<Block>& blocks = prompt.messages[place.message].blocks;
  Block& block = blocks[place.block];
  if (auto* text = std::get_if<TextContent>(&block.content)) text->text += kOther;
  else if (auto* result = std::get_if<ToolResultContent>(&block.content)) result->text += kOther;
  else blocks.insert(blocks.begin() + static_cast<std::ptrdiff_t>(place.block) + 1, Block{TextContent{kOther}});
  return prompt;
}

}  // namespace

std::vector<std::int32_t> cache_marks(PromptReader& reader, const Prompt& prompt, std::span<const TokenId> tokens) {
  std::vector<std::int32_t> marks;
  for (const Place& place : marked(prompt)) {
    const auto other = reader.read(altered(prompt, place));
    if (!other) continue;
    const auto at = static_cast<std::int32_t>(std::ranges::mismatch(tokens, other->tokens).in1 - tokens.begin());
    if (at > 0 && at < std::ssize(tokens)) marks.push_back(at);
  }
  std::ranges::sort(marks);
  marks.erase(std::ranges::unique(marks).begin(), marks.end());
  return marks;
}

}  // namespace pensieve
