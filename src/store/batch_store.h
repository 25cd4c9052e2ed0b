// Batches of requests and their results, in one SQLite file, so that they survive
// the server. docs/store.md has the schema.
//
//   Owns     the connection. One server holds a file at a time.
//   Threads  the I/O thread. Each call is one short transaction (the largest, creating a
//            batch of 10,000 requests, takes some tens of milliseconds).
//   Units    times in milliseconds since 1970.
//   Errors   unavailable: another server holds the file; internal: SQLite's own words;
//            not_found, invalid_argument as the API wants them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct BatchItem {
  std::string custom_id;
  std::string params;  // A Messages request, JSON.
};

enum class ItemState { pending, succeeded, errored, canceled, expired };

struct Batch {
  std::string id;
  std::int64_t created_ms = 0;
  std::int64_t expires_ms = 0;
  std::optional<std::int64_t> cancel_ms;  // When cancelling began.
  std::optional<std::int64_t> ended_ms;
  std::int64_t counts[5] = {};            // By ItemState.
};

struct PendingItem {
  std::string batch_id;
  std::int64_t position = 0;
  BatchItem item;
};

class BatchStore {
 public:
  static Result<std::unique_ptr<BatchStore>> open(const std::string& path);
  ~BatchStore();
  BatchStore(const BatchStore&) = delete;
  BatchStore& operator=(const BatchStore&) = delete;

  Result<void> create(const std::string& id, const std::vector<BatchItem>& items, std::int64_t now_ms, std::int64_t expires_ms);
  Result<Batch> get(const std::string& id);
  struct Page {
    std::vector<Batch> batches;  // Newest first.
    bool has_more = false;
  };
  // Those older than `after_id`, or newer than `before_id`; both empty: from the newest.
  Result<Page> list(std::size_t limit, const std::string& after_id, const std::string& before_id);
  Result<void> remove(const std::string& id);

  // Every pending item becomes canceled but the one that `running` names; ends the batch if none is left.
  Result<void> cancel(const std::string& id, std::optional<std::int64_t> running, std::int64_t now_ms);
  // Pending items whose batch's time is over become expired.
  Result<void> expire(std::int64_t now_ms);
  // The oldest pending item of all; none: nothing to do.
  Result<std::optional<PendingItem>> next();
  // `result`: JSON. Ends the batch if it was the last. Nothing happens if the batch is gone.
  Result<void> finish(const std::string& batch_id, std::int64_t position, ItemState state, const std::string& result, std::int64_t now_ms);
  // Lines {custom_id, state, result} from `position` on, at most `limit`.
  struct Line {
    std::string custom_id;
    ItemState state{};
    std::string result;
  };
  Result<std::vector<Line>> results(const std::string& id, std::int64_t position, std::size_t limit);

 private:
  struct Connection;
  explicit BatchStore(std::unique_ptr<Connection> connection);
  std::unique_ptr<Connection> connection_;
};

}  // namespace pensieve
