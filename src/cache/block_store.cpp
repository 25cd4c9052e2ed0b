#include "cache/block_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <queue>

#include "base/check.h"
#include "base/log.h"

namespace pensieve {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t kBacklogBytesMax = 32u << 20;
constexpr const char* kAsideFolder = "set_aside";
constexpr const char* kBudgetFile = "written_today";
constexpr std::size_t kAsideMax = 16;
constexpr std::size_t kPartialCandidatesMax = 8;

FileTime now() { return std::chrono::time_point_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now()); }
std::int64_t day_of(FileTime time) { return std::chrono::duration_cast<std::chrono::days>(time.time_since_epoch()).count(); }

// "KEY-TOKENS.state"
std::optional<std::pair<BlockKey, std::int32_t>> parse_checkpoint_name(std::string_view name) {
  constexpr std::string_view kEnd = ".state";
  if (name.size() < 32 + 2 + kEnd.size() || name[32] != '-' || !name.ends_with(kEnd)) return std::nullopt;
  const auto key = parse_key(name.substr(0, 32));
  const std::string_view digits = name.substr(33, name.size() - 33 - kEnd.size());
  std::int32_t tokens = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), tokens);
  if (!key || error != std::errc() || end != digits.data() + digits.size() || tokens <= 0) return std::nullopt;
  return std::pair(*key, tokens);
}

// "KEY-PARENT.kv"
std::optional<std::pair<BlockKey, BlockKey>> parse_name(std::string_view name) {
  if (name.size() != 32 + 1 + 32 + 3 || name[32] != '-' || !name.ends_with(".kv")) return std::nullopt;
  const auto key = parse_key(name.substr(0, 32));
  const auto parent = parse_key(name.substr(33, 32));
  if (!key || !parent) return std::nullopt;
  return std::pair(*key, *parent);
}

// "ANYTHING.PID.tmp": whether no process of this number is there, but this one, which has just begun.
bool writer_is_gone(std::string_view name) {
  name.remove_suffix(std::string_view(".tmp").size());
  const std::size_t dot = name.rfind('.');
  pid_t pid = 0;
  if (dot == std::string_view::npos || std::from_chars(name.data() + dot + 1, name.data() + name.size(), pid).ec != std::errc() || pid <= 0) return false;
  return pid == ::getpid() || (::kill(pid, 0) != 0 && errno == ESRCH);
}

std::uint64_t content_bytes(const BlockHead& head) {
  std::uint64_t sum = 0;
  for (const std::uint64_t bytes : head.piece_bytes) sum += bytes;
  return sum;
}

}  // namespace

BlockStore::BlockStore(Files& files, StoreOptions options, const BlockKey& fingerprint)
    : files_(files), options_(std::move(options)), fingerprint_(fingerprint), own_folder_(hex(fingerprint)) {}

Result<std::unique_ptr<BlockStore>> BlockStore::open(Files& files, StoreOptions options, const BlockKey& fingerprint, std::string_view about) {
  std::unique_ptr<BlockStore> store(new BlockStore(files, std::move(options), fingerprint));
  const std::string own = store->options_.folder + "/" + store->own_folder_;
  if (Result<void> made = files.make_folder(own); !made) return std::move(made).error();
  if (Result<void> scanned = store->scan(); !scanned) return std::move(scanned).error();
  // For people who look into the folder, and for `pensieve store ls`.
  if (auto file = files.create(own + "/about.json"); !file || !(*file)->append(std::as_bytes(std::span(about)))) store->switch_off("its folder cannot be written to");
  store->thread_ = std::jthread([raw = store.get()] { raw->write_jobs(); });
  return store;
}

BlockStore::~BlockStore() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  job_arrived_.notify_all();
}

Result<void> BlockStore::scan() {
  auto folders = files_.list(options_.folder);
  if (!folders) return std::move(folders).error();
  for (const FolderEntry& entry : *folders) {
    if (entry.folder && parse_key(entry.name)) scan_folder(entry.name);
  }
  for (auto& [key, entry] : entries_) {
    if (const auto parent = entries_.find(entry.parent); parent != entries_.end()) ++parent->second.children;
  }
  load_budget();
  const std::lock_guard lock(mutex_);
  make_room(0);
  return {};
}

void BlockStore::scan_folder(const std::string& name) {
  const auto files = files_.list(options_.folder + "/" + name);
  if (!files) return;
  const std::string* const folder = &*folders_.insert(name).first;
  for (const FolderEntry& file : *files) {
    if (file.name.ends_with(".tmp") && (now() - file.modified > 1h || writer_is_gone(file.name))) {
      (void)files_.remove(options_.folder + "/" + name + "/" + file.name);  // Left by a worker that was killed.
      continue;
    }
    const auto keys = parse_name(file.name);
    const auto checkpoint = parse_checkpoint_name(file.name);
    if (keys) entries_[keys->first] = {keys->second, folder, file.bytes, file.modified, 0, 0};
    else if (checkpoint) entries_[checkpoint->first] = {parse_key(name).value_or(BlockKey{}), folder, file.bytes, file.modified, 0, checkpoint->second};
    else continue;
    stats_.bytes += file.bytes;
    ++stats_.blocks;
  }
}

std::string BlockStore::path_of(const BlockKey& key, const Entry& entry) const {
  if (entry.checkpoint_tokens > 0) return fmt::format("{}/{}/{}-{}.state", options_.folder, *entry.folder, hex(key), entry.checkpoint_tokens);
  return fmt::format("{}/{}/{}-{}.kv", options_.folder, *entry.folder, hex(key), hex(entry.parent));
}

bool BlockStore::has(const BlockKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found != entries_.end() && *found->second.folder == own_folder_;
}

bool BlockStore::will_have(const BlockKey& key) const {
  const std::lock_guard lock(mutex_);
  return entries_.contains(key) || underway_.contains(key);
}

std::size_t BlockStore::longest_chain(std::span<const BlockKey> chain) const {
  std::size_t length = 0;
  while (length < chain.size() && has(chain[length])) ++length;
  return length;
}

std::optional<BlockStore::Partial> BlockStore::best_partial(const BlockKey& parent, std::span<const TokenId> rest, std::int32_t least) {
  std::vector<std::pair<FileTime, BlockKey>> candidates;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : entries_) {
      if (entry.parent == parent && *entry.folder == own_folder_) candidates.emplace_back(entry.used, key);
    }
  }
  std::ranges::sort(candidates, std::greater());
  if (candidates.size() > kPartialCandidatesMax) candidates.resize(kPartialCandidatesMax);
  std::optional<Partial> best;
  for (const auto& [used, key] : candidates) {
    auto reader = open_block(key, parent);
    if (!reader) continue;
    const std::vector<TokenId>& tokens = reader->head().tokens;
    const auto common = static_cast<std::int32_t>(std::ranges::mismatch(tokens, rest).in1 - tokens.begin());
    const auto length = static_cast<std::int32_t>(tokens.size());
    const auto better = [&] { return common > best->common || (common == best->common && common == length && best->tokens > common); };
    if (common < least || (best && !better())) continue;
    best = Partial{key, common, length};
    if (common == std::ssize(rest)) break;
  }
  return best;
}

std::optional<BlockStore::Checkpoint> BlockStore::longest_checkpoint(std::span<const TokenId> prompt) const {
  const std::lock_guard lock(mutex_);
  std::set<std::int32_t, std::greater<>> lengths;
  for (const auto& [key, entry] : entries_) {
    if (entry.checkpoint_tokens > 0 && entry.checkpoint_tokens <= std::ssize(prompt) && *entry.folder == own_folder_) lengths.insert(entry.checkpoint_tokens);
  }
  for (const std::int32_t length : lengths) {
    const BlockKey key = child_of(fingerprint_, prompt.first(static_cast<std::size_t>(length)));
    const auto found = entries_.find(key);
    if (found != entries_.end() && found->second.checkpoint_tokens == length) return Checkpoint{key, length};
  }
  return std::nullopt;
}

Result<BlockReader> BlockStore::read(const BlockKey& key, const BlockKey& parent) {
  Result<BlockReader> reader = open_block(key, parent);
  if (reader) {
    const std::lock_guard lock(mutex_);
    ++stats_.blocks_read;
  }
  return reader;
}

Result<BlockReader> BlockStore::open_block(const BlockKey& key, const BlockKey& parent) {
  std::string path;
  bool checkpoint = false;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return Error{ErrorCode::not_found, "no such block"};
    path = path_of(key, found->second);
    checkpoint = found->second.checkpoint_tokens > 0;
  }
  auto file = files_.open(path);
  if (!file) {
    const std::lock_guard lock(mutex_);
    if (file.error().code == ErrorCode::not_found) forget_entry(key);  // Another server on the same folder evicted it.
    return std::move(file).error();
  }
  Result<BlockReader> reader = BlockReader::open(*std::move(file));
  if (reader && (reader->head().key != key || reader->head().parent != parent || reader->head().checkpoint != checkpoint)) reader = Error{ErrorCode::corrupt, "it holds another block than its name says"};
  if (!reader && reader.error().code == ErrorCode::corrupt) set_aside(key);
  return reader;
}

// Kept for whoever wants to know what happened to it, but not under its name.
void BlockStore::set_aside(const BlockKey& key) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const std::string path = path_of(key, found->second);
  const std::string aside = options_.folder + "/" + kAsideFolder;
  log::warn("store: block {} is damaged and set aside", hex(key));
  bool moved = false;
  if (files_.make_folder(aside)) {
    const auto there = files_.list(aside);
    moved = there && there->size() < kAsideMax && files_.rename(path, aside + "/" + hex(key) + ".kv");
  }
  if (!moved) (void)files_.remove(path);
  forget_entry(key);
  ++stats_.blocks_set_aside;
}

void BlockStore::used(std::span<const BlockKey> chain, std::chrono::seconds pinned_for) {
  std::vector<std::pair<std::string, FileTime>> touched;
  {
    const std::lock_guard lock(mutex_);
    const FileTime at = now() + pinned_for;
    for (const BlockKey& key : chain) {
      const auto found = entries_.find(key);
      if (found == entries_.end() || found->second.used >= at) continue;
      found->second.used = at;
      touched.emplace_back(path_of(key, found->second), at);
    }
  }
  for (const auto& [path, at] : touched) (void)files_.set_modified(path, at);  // At worst it is evicted too early.
}

bool BlockStore::begin(BlockHead head, std::chrono::seconds pinned_for, std::vector<BlockKey> replaces) {
  const std::lock_guard lock(mutex_);
  if (!stats_.problem.empty() || stopping_ || entries_.contains(head.key) || underway_.contains(head.key)) return false;
  // A child without its parent could never be found.
  if (head.parent != fingerprint_ && !entries_.contains(head.parent) && !underway_.contains(head.parent)) return false;
  const std::uint64_t bytes = block_file_bytes(head);
  if (const std::int64_t day = day_of(now()); day != today_) {
    today_ = day;
    stats_.bytes_written_today = 0;
  }
  if (stats_.bytes_written_today + bytes > options_.writes_per_day_max || !make_room(bytes)) return false;
  stats_.bytes_written_today += bytes;
  backlog_bytes_max_ = std::max(backlog_bytes_max_, std::min(kBacklogBytesMax, content_bytes(head)));
  underway_[head.key] = {head.parent, bytes};
  jobs_.push_back({Job::Kind::begin, std::move(head), {}, pinned_for, std::move(replaces)});
  job_arrived_.notify_one();
  return true;
}

void BlockStore::append(std::vector<std::byte> piece) {
  std::unique_lock lock(mutex_);
  job_done_.wait(lock, [this] { return backlog_bytes_ < backlog_bytes_max_ || stopping_; });
  backlog_bytes_ += piece.size();
  jobs_.push_back({Job::Kind::piece, {}, std::move(piece), {}, {}});
  job_arrived_.notify_one();
}

void BlockStore::drop() {
  const std::lock_guard lock(mutex_);
  jobs_.push_back({Job::Kind::drop, {}, {}, {}, {}});
  job_arrived_.notify_one();
}

bool BlockStore::backlog_full() const {
  const std::lock_guard lock(mutex_);
  return backlog_bytes_ > 0 && backlog_bytes_ >= backlog_bytes_max_;
}

bool BlockStore::flush(TimePoint deadline) {
  std::unique_lock lock(mutex_);
  return job_done_.wait_until(lock, deadline, [this] { return (jobs_.empty() && !writing_) || stopping_; });
}

StoreStats BlockStore::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

// Leaves go first, those used longest ago before others: a chain shrinks from its
// end, and no child stays behind without its parent.
bool BlockStore::make_room(std::uint64_t bytes) {
  if (bytes > options_.size_max) return false;
  const FileTime at = now();
  const std::uint64_t coming = underway_.size() + (bytes > 0 ? 1 : 0);
  for (const auto& [key, block] : underway_) bytes += block.bytes;
  const auto disk = files_.free_bytes(options_.folder);
  std::uint64_t missing = stats_.bytes + bytes > options_.size_max ? stats_.bytes + bytes - options_.size_max : 0;
  if (disk && *disk < options_.free_min + bytes) missing = std::max(missing, options_.free_min + bytes - *disk);
  const auto enough = [&] { return missing == 0 && stats_.blocks + coming <= options_.blocks_max; };
  const auto is_leaf = [](const auto& entry) { return entry.second.children == 0; };
  const auto too_old = [&](FileTime used) { return at - used > options_.age_max; };
  if (enough() && std::ranges::none_of(entries_, [&](const auto& entry) { return is_leaf(entry) && too_old(entry.second.used); })) return true;

  using Leaf = std::pair<FileTime, BlockKey>;
  std::priority_queue<Leaf, std::vector<Leaf>, std::greater<>> leaves;  // The oldest on top.
  for (const auto& entry : entries_) {
    if (is_leaf(entry)) leaves.emplace(entry.second.used, entry.first);
  }
  while (!leaves.empty()) {
    const auto [used, key] = leaves.top();
    if (enough() && !too_old(used)) return true;
    const bool growing = std::ranges::any_of(underway_, [&](const auto& block) { return block.second.parent == key; });
    if (used > at || growing) break;  // Pinned, or its chain is growing now.
    leaves.pop();
    const Entry entry = entries_.at(key);
    if (!files_.remove(path_of(key, entry))) return false;
    forget_entry(key);
    ++stats_.blocks_evicted;
    missing -= std::min(missing, entry.bytes);
    if (const auto parent = entries_.find(entry.parent); parent != entries_.end() && is_leaf(*parent)) leaves.emplace(parent->second.used, parent->first);
  }
  return enough();
}

void BlockStore::insert(const BlockKey& key, const Entry& entry) {
  stats_.bytes += entry.bytes;
  ++stats_.blocks;
  if (const auto parent = entries_.find(entry.parent); parent != entries_.end()) ++parent->second.children;
  entries_[key] = entry;
}

void BlockStore::forget_entry(const BlockKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  stats_.bytes -= found->second.bytes;
  --stats_.blocks;
  if (const auto parent = entries_.find(found->second.parent); parent != entries_.end()) --parent->second.children;
  entries_.erase(found);
}

void BlockStore::switch_off(const std::string& why) {
  if (!stats_.problem.empty()) return;
  stats_.problem = why;
  log::warn("store: nothing is written any more: {}", why);
}

// ---- the day's budget: a small file, so that restarts do not renew it ----

void BlockStore::load_budget() {
  today_ = day_of(now());
  auto file = files_.open(options_.folder + "/" + kBudgetFile);
  std::array<std::int64_t, 2> held{};
  if (file && (*file)->read_at(0, std::as_writable_bytes(std::span(held))) && held[0] == today_ && held[1] > 0) {
    stats_.bytes_written_today = static_cast<std::uint64_t>(held[1]);
  }
}

void BlockStore::note_spent() {
  std::array<std::int64_t, 2> held{};
  {
    const std::lock_guard lock(mutex_);
    held = {today_, static_cast<std::int64_t>(stats_.bytes_written_today)};
  }
  const std::string path = options_.folder + "/" + kBudgetFile;
  auto file = files_.create(path + ".new");
  if (file && (*file)->append(std::as_bytes(std::span(held)))) (void)files_.rename(path + ".new", path);
}

// ---- the writer thread ----

void BlockStore::write_jobs() {
  std::unique_lock lock(mutex_);
  while (true) {
    job_arrived_.wait(lock, [this] { return !jobs_.empty() || stopping_; });
    if (stopping_) break;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    writing_ = true;
    const bool off = !stats_.problem.empty();
    lock.unlock();
    const std::uint64_t bytes = job.bytes.size();
    Result<void> done;
    if (!off) done = carry_out(job);
    lock.lock();
    backlog_bytes_ -= bytes;
    writing_ = false;
    if (!done) {
      switch_off(done.error().message);
      underway_.clear();
    }
    job_done_.notify_all();
  }
  lock.unlock();
  if (writer_) (void)files_.remove(writing_path_);
  job_done_.notify_all();
}

Result<void> BlockStore::carry_out(Job& job) {
  switch (job.kind) {
    case Job::Kind::begin: {
      writing_head_ = std::move(job.head);
      writing_pinned_for_ = job.pinned_for;
      writing_replaces_ = std::move(job.replaces);
      pieces_left_ = writing_head_.piece_bytes.size();
      writing_bytes_ = block_file_bytes(writing_head_);
      writing_path_ = fmt::format("{}/{}/{}.{}.tmp", options_.folder, own_folder_, hex(writing_head_.key), ::getpid());
      auto file = files_.create(writing_path_);
      if (!file) return std::move(file).error();
      auto writer = BlockWriter::begin(*std::move(file), writing_head_);
      if (!writer) {
        (void)files_.remove(writing_path_);
        return std::move(writer).error();
      }
      writer_ = std::make_unique<BlockWriter>(*std::move(writer));
      return {};
    }
    case Job::Kind::piece: {
      if (!writer_) return {};
      Result<void> written = writer_->append(job.bytes);
      if (written && --pieces_left_ == 0) written = complete();
      if (!written) {
        writer_.reset();
        (void)files_.remove(writing_path_);
      }
      return written;
    }
    case Job::Kind::drop: {
      writer_.reset();
      (void)files_.remove(writing_path_);
      const std::lock_guard lock(mutex_);
      underway_.erase(writing_head_.key);
      return {};
    }
  }
  return {};
}

// Named first, synced after: the checksums make a torn file harmless, and a worker
// killed in between finds its block again at once.
Result<void> BlockStore::complete() {
  if (Result<void> finished = writer_->finish(); !finished) return finished;
  const std::int32_t checkpoint_tokens = writing_head_.checkpoint ? static_cast<std::int32_t>(writing_head_.tokens.size()) : 0;
  const Entry entry{writing_head_.parent, &own_folder_, writing_bytes_, now() + writing_pinned_for_, 0, checkpoint_tokens};
  const std::string path = path_of(writing_head_.key, entry);
  if (Result<void> renamed = files_.rename(writing_path_, path); !renamed) return renamed;
  if (writing_pinned_for_.count() > 0) (void)files_.set_modified(path, entry.used);  // So that the next process knows.
  {
    const std::lock_guard lock(mutex_);
    insert(writing_head_.key, entry);
    underway_.erase(writing_head_.key);
    ++stats_.blocks_written;
    // What it held is the beginning of this one now.
    for (const BlockKey& key : writing_replaces_) {
      const auto replaced = entries_.find(key);
      if (replaced == entries_.end() || replaced->second.children > 0) continue;
      (void)files_.remove(path_of(replaced->first, replaced->second));
      forget_entry(key);
    }
  }
  note_spent();
  Result<void> synced = writer_->sync();
  writer_.reset();
  if (synced) synced = files_.sync_folder(options_.folder + "/" + own_folder_);
  return synced;
}

}  // namespace pensieve
