#include "store/batch_store.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <filesystem>


namespace pensieve {
namespace {

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema = R"(
  CREATE TABLE batches (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, cancel_ms INTEGER, ended_ms INTEGER);
  CREATE TABLE items (
    batch INTEGER NOT NULL REFERENCES batches(number) ON DELETE CASCADE, position INTEGER NOT NULL,
    custom_id TEXT NOT NULL, params TEXT NOT NULL, state INTEGER NOT NULL DEFAULT 0, result TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (batch, position)) WITHOUT ROWID;
  CREATE INDEX items_pending ON items(batch, position) WHERE state = 0;
  PRAGMA user_version = 1;
)";

// One prepared statement, its values bound in order.
class Statement {
 public:
  Statement(sqlite3* db, const char* text) : db_(db) { code_ = sqlite3_prepare_v2(db, text, -1, &statement_, nullptr); }
  ~Statement() { sqlite3_finalize(statement_); }
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(std::int64_t value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_, ++bound_, value);
    return *this;
  }
  Statement& bind(std::string_view value) {
    if (code_ == SQLITE_OK) code_ = sqlite3_bind_text(statement_, ++bound_, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT);
    return *this;
  }
  // True: a row is there.
  bool row() {
    if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = sqlite3_step(statement_);
    return code_ == SQLITE_ROW;
  }
  Result<void> run() {
    while (row()) {
    }
    return result();
  }
  Result<void> result() const {
    if (code_ == SQLITE_DONE || code_ == SQLITE_ROW || code_ == SQLITE_OK) return {};
    return Error{code_ == SQLITE_BUSY || code_ == SQLITE_LOCKED ? ErrorCode::unavailable : ErrorCode::internal, fmt::format("the batch store failed: {}", sqlite3_errmsg(db_))};
  }
  std::int64_t integer(int column) const { return sqlite3_column_int64(statement_, column); }
  std::optional<std::int64_t> maybe_integer(int column) const {
    return sqlite3_column_type(statement_, column) == SQLITE_NULL ? std::nullopt : std::optional(integer(column));
  }
  std::string text(int column) const {
    const auto* bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return bytes == nullptr ? std::string() : std::string(bytes, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
  }
  void again() {
    sqlite3_reset(statement_);
    bound_ = 0;
    code_ = SQLITE_OK;
  }

 private:
  sqlite3* db_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  int code_ = SQLITE_OK;
};

}  // namespace

struct BatchStore::Connection {
  ~Connection() { sqlite3_close(db); }
  Result<void> run(const char* text) {
    char* problem = nullptr;
    const int code = sqlite3_exec(db, text, nullptr, nullptr, &problem);
    if (code == SQLITE_OK) return {};
    Error error{code == SQLITE_BUSY ? ErrorCode::unavailable : ErrorCode::internal, fmt::format("the batch store failed: {}", problem == nullptr ? sqlite3_errmsg(db) : problem)};
    sqlite3_free(problem);
    return error;
  }
  // All or nothing.
  template <typename Work>
  Result<void> transaction(Work work) {
    if (Result<void> begun = run("BEGIN IMMEDIATE"); !begun) return begun;
    Result<void> done = work();
    if (done) done = run("COMMIT");
    if (!done) sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
    return done;
  }
  Result<void> end_if_done(std::string_view id, std::int64_t now_ms) {
    Statement end(db, "UPDATE batches SET ended_ms = ?1 WHERE id = ?2 AND ended_ms IS NULL AND NOT EXISTS (SELECT 1 FROM items WHERE batch = number AND state = 0)");
    return end.bind(now_ms).bind(id).run();
  }
  Result<Batch> read(const Statement& row) {
    Batch batch{row.text(1), row.integer(2), row.integer(3), row.maybe_integer(4), row.maybe_integer(5), {}};
    Statement counts(db, "SELECT state, count(*) FROM items WHERE batch = ? GROUP BY state");
    counts.bind(row.integer(0));
    while (counts.row()) {
      if (const std::int64_t state = counts.integer(0); state >= 0 && state < 5) batch.counts[state] = counts.integer(1);
    }
    if (Result<void> done = counts.result(); !done) return std::move(done).error();
    return batch;
  }

  sqlite3* db = nullptr;
};

#define PENSIEVE_BATCH_COLUMNS "SELECT number, id, created_ms, expires_ms, cancel_ms, ended_ms FROM batches "

BatchStore::BatchStore(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
BatchStore::~BatchStore() = default;

Result<std::unique_ptr<BatchStore>> BatchStore::open(const std::string& path) {
  std::error_code ignored;
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) std::filesystem::create_directories(folder, ignored);
  auto connection = std::make_unique<Connection>();
  if (sqlite3_open_v2(path.c_str(), &connection->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr) != SQLITE_OK) {
    return Error{ErrorCode::internal, fmt::format("the batch store '{}' cannot be opened: {}", path, sqlite3_errmsg(connection->db))};
  }
  // It holds people's prompts.
  std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, ignored);
  sqlite3_busy_timeout(connection->db, 200);
  // Exclusive: two servers on one file would run everything twice.
  for (const char* setting : {"PRAGMA locking_mode = EXCLUSIVE", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", "PRAGMA foreign_keys = ON"}) {
    if (Result<void> set = connection->run(setting); !set) return Error{set.error().code, fmt::format("the batch store '{}' is held by another server, or broken: {}", path, set.error().message)};
  }
  std::int64_t version = 0;
  {
    Statement read(connection->db, "PRAGMA user_version");
    if (read.row()) version = read.integer(0);
    if (Result<void> done = read.result(); !done) return std::move(done).error();
  }
  if (version > kSchemaVersion) return Error{ErrorCode::internal, fmt::format("the batch store '{}' is of a newer release (schema {})", path, version)};
  if (version == 0) {
    if (Result<void> made = connection->transaction([&] { return connection->run(kSchema); }); !made) return std::move(made).error();
  }
  return std::unique_ptr<BatchStore>(new BatchStore(std::move(connection)));
}

Result<void> BatchStore::create(const std::string& id, const std::vector<BatchItem>& items, std::int64_t now_ms, std::int64_t expires_ms) {
  sqlite3* db = connection_->db;
  return connection_->transaction([&]() -> Result<void> {
    Statement batch(db, "INSERT INTO batches (id, created_ms, expires_ms) VALUES (?, ?, ?)");
    if (Result<void> done = batch.bind(id).bind(now_ms).bind(expires_ms).run(); !done) return done;
    const std::int64_t number = sqlite3_last_insert_rowid(db);
    Statement item(db, "INSERT INTO items (batch, position, custom_id, params) VALUES (?, ?, ?, ?)");
    for (std::size_t i = 0; i < items.size(); ++i) {
      item.again();
      if (Result<void> done = item.bind(number).bind(static_cast<std::int64_t>(i)).bind(items[i].custom_id).bind(items[i].params).run(); !done) return done;
    }
    return {};
  });
}

Result<Batch> BatchStore::get(const std::string& id) {
  Statement read(connection_->db, PENSIEVE_BATCH_COLUMNS "WHERE id = ?");
  if (read.bind(id).row()) return connection_->read(read);
  if (Result<void> done = read.result(); !done) return std::move(done).error();
  return Error{ErrorCode::not_found, fmt::format("there is no batch '{}'", id)};
}

Result<BatchStore::Page> BatchStore::list(std::size_t limit, const std::string& after_id, const std::string& before_id) {
  const bool newer = after_id.empty() && !before_id.empty();
  Statement read(connection_->db, newer ? PENSIEVE_BATCH_COLUMNS "WHERE number > (SELECT number FROM batches WHERE id = ?) ORDER BY number LIMIT ?"
                                        : PENSIEVE_BATCH_COLUMNS "WHERE ?1 = '' OR number < (SELECT number FROM batches WHERE id = ?1) ORDER BY number DESC LIMIT ?2");
  read.bind(newer ? before_id : after_id).bind(static_cast<std::int64_t>(limit) + 1);
  Page page;
  while (read.row()) {
    auto batch = connection_->read(read);
    if (!batch) return std::move(batch).error();
    page.batches.push_back(*std::move(batch));
  }
  if (Result<void> done = read.result(); !done) return std::move(done).error();
  page.has_more = page.batches.size() > limit;
  if (page.has_more) page.batches.pop_back();
  if (newer) std::reverse(page.batches.begin(), page.batches.end());
  return page;
}

Result<void> BatchStore::remove(const std::string& id) {
  const auto batch = get(id);
  if (!batch) return batch.error();
  if (!batch->ended_ms) return Error{ErrorCode::invalid_argument, fmt::format("the batch '{}' is still being processed; cancel it first", id)};
  Statement remove(connection_->db, "DELETE FROM batches WHERE id = ?");
  return remove.bind(id).run();
}

Result<void> BatchStore::cancel(const std::string& id, std::optional<std::int64_t> running, std::int64_t now_ms) {
  const auto batch = get(id);
  if (!batch) return batch.error();
  if (batch->ended_ms) return Error{ErrorCode::invalid_argument, fmt::format("the batch '{}' has ended", id)};
  return connection_->transaction([&]() -> Result<void> {
    Statement mark(connection_->db, "UPDATE batches SET cancel_ms = coalesce(cancel_ms, ?) WHERE id = ?");
    if (Result<void> done = mark.bind(now_ms).bind(id).run(); !done) return done;
    Statement items(connection_->db, "UPDATE items SET state = 3 WHERE state = 0 AND position <> ? AND batch = (SELECT number FROM batches WHERE id = ?)");
    if (Result<void> done = items.bind(running.value_or(-1)).bind(id).run(); !done) return done;
    return connection_->end_if_done(id, now_ms);
  });
}

Result<void> BatchStore::expire(std::int64_t now_ms) {
  return connection_->transaction([&]() -> Result<void> {
    Statement items(connection_->db, "UPDATE items SET state = 4 WHERE state = 0 AND batch IN (SELECT number FROM batches WHERE ended_ms IS NULL AND expires_ms <= ?)");
    if (Result<void> done = items.bind(now_ms).run(); !done) return done;
    Statement end(connection_->db, "UPDATE batches SET ended_ms = ?1 WHERE ended_ms IS NULL AND expires_ms <= ?1");
    return end.bind(now_ms).run();
  });
}

Result<std::optional<PendingItem>> BatchStore::next() {
  Statement read(connection_->db,
                 "SELECT b.id, i.position, i.custom_id, i.params FROM items i JOIN batches b ON b.number = i.batch "
                 "WHERE i.state = 0 ORDER BY i.batch, i.position LIMIT 1");
  if (read.row()) return std::optional(PendingItem{read.text(0), read.integer(1), {read.text(2), read.text(3)}});
  if (Result<void> done = read.result(); !done) return std::move(done).error();
  return std::optional<PendingItem>();
}

Result<void> BatchStore::finish(const std::string& batch_id, std::int64_t position, ItemState state, const std::string& result, std::int64_t now_ms) {
  return connection_->transaction([&]() -> Result<void> {
    Statement item(connection_->db, "UPDATE items SET state = ?, result = ? WHERE state = 0 AND position = ? AND batch = (SELECT number FROM batches WHERE id = ?)");
    if (Result<void> done = item.bind(static_cast<std::int64_t>(state)).bind(result).bind(position).bind(batch_id).run(); !done) return done;
    return connection_->end_if_done(batch_id, now_ms);
  });
}

Result<std::vector<BatchStore::Line>> BatchStore::results(const std::string& id, std::int64_t position, std::size_t limit) {
  Statement read(connection_->db, "SELECT custom_id, state, result FROM items WHERE batch = (SELECT number FROM batches WHERE id = ?) AND position >= ? ORDER BY position LIMIT ?");
  read.bind(id).bind(position).bind(static_cast<std::int64_t>(limit));
  std::vector<Line> lines;
  while (read.row()) lines.push_back({read.text(0), static_cast<ItemState>(read.integer(1)), read.text(2)});
  if (Result<void> done = read.result(); !done) return std::move(done).error();
  return lines;
}

}  // namespace pensieve
