#include "worker/slot_keeper.h"

#include "worker/kv_keeper.h"
#include "worker/state_keeper.h"

namespace pensieve {

wire::KvFacts SlotKeeper::common_facts() const {
  wire::KvFacts facts;
  facts.tokens_from_slots = tokens_from_slots_;
  facts.tokens_from_store = tokens_from_store_;
  if (!store_) return facts;
  const StoreStats stats = store_->stats();
  facts.store_blocks = stats.blocks;
  facts.store_bytes = stats.bytes;
  facts.store_blocks_written = stats.blocks_written;
  facts.store_blocks_read = stats.blocks_read;
  facts.store_blocks_evicted = stats.blocks_evicted;
  facts.store_blocks_set_aside = stats.blocks_set_aside;
  facts.store_bytes_written_today = stats.bytes_written_today;
  facts.store_problem = stats.problem;
  return facts;
}

std::unique_ptr<SlotKeeper> make_slot_keeper(Engine& engine, std::unique_ptr<BlockStore> store, bool exact) {
  if (engine.kv_shape() != nullptr) return std::make_unique<KvKeeper>(engine, std::move(store), exact);
  return std::make_unique<StateKeeper>(engine, std::move(store), exact);
}

}  // namespace pensieve
