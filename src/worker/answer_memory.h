// What was sampled for answers given lately: the ids themselves. A client sends an
// answer back as text, and tokenising that text does not always give the ids that
// were sampled; with other ids nothing behind the first difference could be reused.
//
// An answer is known by the text of the prompt that it answered (its origin: length and
// checksum). Which part of a later prompt it is, and whether it is the same answer, is
// for prompt_tokens.h to say.
//
// In a file of the store's folder it outlives the process: a record is written at the
// end of an answer, without waiting for the disk, so that it survives a kill -9. What
// was torn by a power loss is seen by its checksum and ends the reading. Two servers on
// one folder: the one that opened last keeps the file.
//
//   Owns     the records: at most kAnswersMax with kAnswerTokensMax ids, the oldest go first. Its file.
//   Threads  any.
//   Errors   a disk that fails: nothing is written any more; what is in memory stays.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/mutex.h"
#include "cache/block_key.h"
#include "platform/files.h"

namespace pensieve {

inline constexpr std::size_t kAnswersMax = 4096;
inline constexpr std::size_t kAnswerTokensMax = 1u << 20;  // 4 MB.

struct KnownAnswer {
  std::uint64_t prompt_bytes = 0;  // Of the text it answered; it begins behind them.
  BlockKey prompt_checksum;        // Over that text.
  std::string opening;             // See GenerateRequest::opening.
  std::vector<TokenId> tokens;     // As sampled, the end of the turn among them.
  bool operator==(const KnownAnswer&) const = default;
};

// What a prompt's text is known by later; opaque to everybody else.
std::string origin_of(std::string_view prompt_text);

class AnswerMemory {
 public:
  AnswerMemory() = default;                               // Only in memory.
  AnswerMemory(Files& files, const std::string& path);    // What the file holds is known, and kept there from now on.

  // An origin that is none is ignored.
  void keep(std::string_view origin, std::string opening, std::vector<TokenId> tokens);
  // Answers to prompts that `text` begins with, by where they begin; of several at one place the latest first.
  std::vector<KnownAnswer> inside(std::string_view text) const;
  std::size_t size() const;

 private:
  void load() REQUIRES(mutex_);
  void add(KnownAnswer answer) REQUIRES(mutex_);
  Result<void> rewrite() REQUIRES(mutex_);  // The file holds what is known and no more.
  void write(const KnownAnswer& answer) REQUIRES(mutex_);

  Files* const files_ = nullptr;
  const std::string path_;
  mutable Mutex mutex_;
  std::deque<KnownAnswer> answers_ GUARDED_BY(mutex_);  // Oldest first.
  std::size_t tokens_ GUARDED_BY(mutex_) = 0;
  std::unique_ptr<File> file_ GUARDED_BY(mutex_);  // Null: nothing is written.
  std::size_t file_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace pensieve
