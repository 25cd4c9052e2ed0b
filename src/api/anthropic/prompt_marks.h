// What prompts of the last messages were made of, as hashes, so that a client that names
// the message before (`diagnostics.previous_message_id`) can be told what of its prompt
// changed, when less of it lay in the cache than could have.
//
//   Owns     the marks of at most kPromptsKept messages; the oldest go first.
//   Threads  one: the server's.
//   Errors   none; what is not known is not told.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/request.h"
#include "core/stream_event.h"

namespace pensieve::anthropic {

// Hashes of a prompt's parts. They live in this process only.
struct PromptMarks {
  std::uint64_t model = 0;     // The loaded one, whatever the client calls it.
  std::uint64_t system = 0;    // Messages of the system before all others.
  std::uint64_t tools = 0;
  std::vector<std::uint64_t> messages;
  bool operator==(const PromptMarks&) const = default;
};
PromptMarks marks_of(const Prompt& prompt, std::string_view loaded_model);

// As the API spells it.
struct CacheMiss {
  std::string_view type;  // Of a literal.
  std::optional<std::int32_t> missed_tokens;  // That would have been there; not told with every type.
  bool operator==(const CacheMiss&) const = default;
};

class PromptMemory {
 public:
  static constexpr std::size_t kPromptsKept = 1024;

  void keep(std::string message_id, PromptMarks marks, std::int32_t input_tokens);
  // Why less was reused than the prompt of `previous_id` had; nothing when it was reused.
  std::optional<CacheMiss> compare(const std::string& previous_id, const PromptMarks& now, const Started& started) const;

 private:
  struct Kept {
    std::string message_id;
    PromptMarks marks;
    std::int32_t input_tokens = 0;
  };
  std::deque<Kept> kept_;
};

}  // namespace pensieve::anthropic
