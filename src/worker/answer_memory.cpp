#include "worker/answer_memory.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "base/log.h"
#include "cache/checksum.h"

namespace pensieve {
namespace {

// The file: kMagic, then records:
//
//   bytes of the body u32 | body | XXH3-64 of the body
//   body: prompt bytes u64 | prompt checksum 16 bytes | bytes of the opening u32 | opening | ids i32 each
constexpr std::array<char, 8> kMagic = {'P', 'N', 'S', 'V', 'A', 'N', '1', '\n'};
constexpr std::size_t kBodyFixedBytes = 8 + 16 + 4;
constexpr std::size_t kFileBytesMax = 32u << 20;  // Beyond that it is written anew; kAnswersMax records are never as large.
constexpr std::size_t kOpeningBytesMax = 4096;

template <typename T>
void put(std::vector<std::byte>& bytes, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  bytes.insert(bytes.end(), raw.begin(), raw.end());
}

template <typename T>
T take(std::span<const std::byte>& bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  bytes = bytes.subspan(sizeof value);
  return value;
}

std::vector<std::byte> record_of(const KnownAnswer& answer) {
  std::vector<std::byte> body;
  put(body, answer.prompt_bytes);
  put(body, answer.prompt_checksum);
  put(body, static_cast<std::uint32_t>(answer.opening.size()));
  for (const char c : answer.opening) body.push_back(static_cast<std::byte>(c));
  for (const TokenId token : answer.tokens) put(body, token);
  std::vector<std::byte> record;
  put(record, static_cast<std::uint32_t>(body.size()));
  record.insert(record.end(), body.begin(), body.end());
  put(record, checksum_64(body));
  return record;
}

// The next record; nullopt at the end, and where the file is damaged.
std::optional<KnownAnswer> take_record(std::span<const std::byte>& bytes) {
  if (bytes.size() < 4) return std::nullopt;
  auto rest = bytes;
  const std::size_t size = take<std::uint32_t>(rest);
  if (size < kBodyFixedBytes || rest.size() < 8 || size > rest.size() - 8) return std::nullopt;
  auto body = rest.first(size);
  rest = rest.subspan(size);
  if (take<std::uint64_t>(rest) != checksum_64(body)) return std::nullopt;
  KnownAnswer answer;
  answer.prompt_bytes = take<std::uint64_t>(body);
  answer.prompt_checksum = take<BlockKey>(body);
  const std::size_t opening = take<std::uint32_t>(body);
  if (opening > body.size() || (body.size() - opening) % sizeof(TokenId) != 0) return std::nullopt;
  for (const std::byte c : body.first(opening)) answer.opening.push_back(static_cast<char>(c));
  body = body.subspan(opening);
  while (!body.empty()) answer.tokens.push_back(take<TokenId>(body));
  bytes = rest;
  return answer;
}

// "BYTES-CHECKSUM"
std::optional<std::pair<std::uint64_t, BlockKey>> parse_origin(std::string_view origin) {
  std::uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(origin.data(), origin.data() + origin.size(), bytes);
  if (error != std::errc() || end == origin.data() + origin.size() || *end != '-') return std::nullopt;
  const auto key = parse_key(origin.substr(static_cast<std::size_t>(end - origin.data()) + 1));
  if (!key) return std::nullopt;
  return std::pair(bytes, *key);
}

}  // namespace

std::string origin_of(std::string_view text) { return fmt::format("{}-{}", text.size(), hex(checksum_128(std::as_bytes(std::span(text))))); }

AnswerMemory::AnswerMemory(Files& files, const std::string& path) : files_(&files), path_(path) {
  const MutexLock lock(mutex_);
  load();
  if (const Result<void> written = rewrite(); !written) log::warn("answers: they will not outlive this process: {}", written.error().message);
}

void AnswerMemory::load() {
  const std::size_t slash = path_.rfind('/');
  const auto entries = files_->list(path_.substr(0, slash));
  if (!entries) return;
  const auto found = std::ranges::find(*entries, path_.substr(slash + 1), &FolderEntry::name);
  if (found == entries->end() || found->bytes < kMagic.size() || found->bytes > 2 * kFileBytesMax) return;
  auto file = files_->open(path_);
  std::vector<std::byte> bytes(found->bytes);
  if (!file || !(*file)->read_at(0, bytes) || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) return;
  auto rest = std::span<const std::byte>(bytes).subspan(kMagic.size());
  while (auto answer = take_record(rest)) add(*std::move(answer));
  if (!rest.empty()) log::debug("answers: the last {} bytes of {} are torn", rest.size(), path_);
}

Result<void> AnswerMemory::rewrite() {
  std::vector<std::byte> bytes;
  for (const char c : kMagic) bytes.push_back(static_cast<std::byte>(c));
  for (const KnownAnswer& answer : answers_) {
    const auto record = record_of(answer);
    bytes.insert(bytes.end(), record.begin(), record.end());
  }
  const std::string made = fmt::format("{}.{}.tmp", path_, ::getpid());
  file_.reset();
  auto file = files_->create(made);
  Result<void> written = file ? (*file)->append(bytes) : Result<void>(file.error());
  if (written) written = files_->rename(made, path_);
  if (!written) {
    (void)files_->remove(made);
    return written;
  }
  file_ = *std::move(file);
  file_bytes_ = bytes.size();
  return {};
}

void AnswerMemory::keep(std::string_view origin, std::string opening, std::vector<TokenId> tokens) {
  const auto prompt = parse_origin(origin);
  if (!prompt || tokens.empty() || opening.size() > kOpeningBytesMax) return;
  KnownAnswer answer{prompt->first, prompt->second, std::move(opening), std::move(tokens)};
  const MutexLock lock(mutex_);
  write(answer);
  add(std::move(answer));
}

void AnswerMemory::add(KnownAnswer answer) {
  tokens_ += answer.tokens.size();
  answers_.push_back(std::move(answer));
  while (!answers_.empty() && (answers_.size() > kAnswersMax || tokens_ > kAnswerTokensMax)) {
    tokens_ -= answers_.front().tokens.size();
    answers_.pop_front();
  }
}

void AnswerMemory::write(const KnownAnswer& answer) {
  if (!file_) return;
  const std::vector<std::byte> record = record_of(answer);
  Result<void> written = file_bytes_ > kFileBytesMax ? rewrite() : Result<void>();
  if (written) written = file_->append(record);
  if (!written) {
    log::warn("answers: they will not outlive this process: {}", written.error().message);
    file_.reset();
  }
  file_bytes_ += record.size();
}

std::vector<KnownAnswer> AnswerMemory::inside(std::string_view text) const {
  const MutexLock lock(mutex_);
  std::map<std::uint64_t, std::vector<const KnownAnswer*>> by_place;
  for (auto answer = answers_.rbegin(); answer != answers_.rend(); ++answer) {
    if (answer->prompt_bytes < text.size()) by_place[answer->prompt_bytes].push_back(&*answer);
  }
  std::vector<KnownAnswer> found;
  Checksum128 checksum;
  std::size_t at = 0;
  for (const auto& [place, answers] : by_place) {
    checksum.add(std::as_bytes(std::span(text)).subspan(at, place - at));
    at = place;
    const BlockKey here = checksum.value();
    for (const KnownAnswer* answer : answers) {
      if (answer->prompt_checksum == here) found.push_back(*answer);
    }
  }
  return found;
}

std::size_t AnswerMemory::size() const {
  const MutexLock lock(mutex_);
  return answers_.size();
}

}  // namespace pensieve
