#include "engine/llama_sight.h"

#include <fmt/format.h>
#include <ggml-backend.h>
#include <mtmd-helper.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "base/sha256.h"
#include "core/picture_token.h"
#include "engine/image_header.h"

namespace pensieve {
namespace {

// What resizing an image and cutting it into tiles takes beside its decoding.
constexpr std::uint64_t kTilesBytes = 64u << 20;

constexpr std::size_t kGridsMax = 4096;

// By its first ids no other picture is called so: 120 bits of its digest.
std::vector<TokenId> name_of(std::span<const TokenId> ids) { return {ids.begin(), ids.begin() + kPictureRowsMin}; }

// The library tells its troubles in its log alone.
thread_local std::string last_complaint;

void on_log(ggml_log_level level, const char* text, void*) {
  std::string_view line = text;
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  if (line.empty()) return;
  if (level == GGML_LOG_LEVEL_ERROR) {
    last_complaint = line;
    log::debug("sight: {}", line);
  } else {
    log::trace("sight: {}", line);
  }
}

bool count_node(ggml_tensor*, bool ask, void* pulse) {
  if (ask) static_cast<std::atomic<std::uint64_t>*>(pulse)->fetch_add(1, std::memory_order_relaxed);
  return !ask;  // No node's values are wanted; the graph goes on.
}

mtmd_context_params params_for(const SightOptions& options) {
  mtmd_helper_log_set(on_log, nullptr);
  mtmd_context_params params = mtmd_context_params_default();
  params.use_gpu = options.gpu;
  params.n_threads = options.threads;
  params.print_timings = false;
  params.warmup = true;  // Its buffers are there before the first image.
  return params;
}

Result<void> can_be_read(const SightOptions& options) {
  std::error_code status;
  (void)std::filesystem::file_size(options.path, status);
  if (status) return Error{ErrorCode::not_found, fmt::format("--mmproj: '{}' cannot be read: {}", options.path, status.message())};
  return {};
}

Error unusable(const SightOptions& options, const std::string& why) {
  return {ErrorCode::corrupt, fmt::format("--mmproj: '{}' could not be loaded for this model: {}", options.path, last_complaint.empty() ? why : last_complaint)};
}

// nullopt: its positions are not those of rows of equal length, one after the other.
std::optional<LlamaSight::Grid> grid_in(const mtmd_context* context, const mtmd_input_chunk* chunk) {
  const auto rows = static_cast<std::int32_t>(mtmd_input_chunk_get_n_tokens(chunk));
  LlamaSight::Grid grid{rows, rows, mtmd_input_chunk_get_n_pos(chunk)};
  if (!mtmd_decode_use_mrope(context)) return grid.positions == rows ? std::optional(grid) : std::nullopt;
  std::vector<mtmd_decoder_pos> places(static_cast<std::size_t>(rows));
  mtmd_helper_image_get_decoder_pos(mtmd_input_chunk_get_tokens_image(chunk), 0, places.data());
  grid.width = 1;
  for (const mtmd_decoder_pos& place : places) grid.width = std::max(grid.width, static_cast<std::int32_t>(place.x) + 1);
  for (std::int32_t row = 0; row < rows; ++row) {
    const mtmd_decoder_pos& place = places[static_cast<std::size_t>(row)];
    if (place.t != 0 || std::cmp_not_equal(place.x, row % grid.width) || std::cmp_not_equal(place.y, row / grid.width)) return std::nullopt;
  }
  return grid;
}

}  // namespace

Result<std::uint64_t> LlamaSight::bytes_needed(const SightOptions& options) {
  if (Result<void> there = can_be_read(options); !there) return std::move(there).error();
  last_complaint.clear();
  std::uint64_t bytes = 0;
  std::string why = "the engine gave no reason";
  try {
    // Sums of weights and compute buffers: nothing is loaded.
    const mtmd_memory_usage usage = mtmd_get_memory_usage(options.path.c_str(), params_for(options));
    for (const auto& [device, there] : usage.backend_mem_usage) bytes += there;
  } catch (const std::exception& thrown) {
    why = thrown.what();
  }
  if (bytes == 0) return unusable(options, why);
  return bytes + kImageBytesMax + kTilesBytes;
}

Result<std::unique_ptr<LlamaSight>> LlamaSight::load(const SightOptions& options, const llama_model* model, std::atomic<std::uint64_t>* pulse) {
  if (Result<void> there = can_be_read(options); !there) return std::move(there).error();
  mtmd_context_params params = params_for(options);
  params.cb_eval = count_node;
  params.cb_eval_user_data = pulse;
  last_complaint.clear();
  Context context(mtmd_init_from_file(options.path.c_str(), model, params));
  if (!context) return unusable(options, "the engine gave no reason");
  if (!mtmd_support_vision(context.get())) return Error{ErrorCode::unavailable, fmt::format("--mmproj: '{}' is not for images", options.path)};
  return std::unique_ptr<LlamaSight>(new LlamaSight(std::move(context), options));
}

Result<LlamaSight::Chunks> LlamaSight::chunks_of(std::string_view image, bool whole) const {
  if (const auto header = read_image_header(image); !header) return header.error();
  last_complaint.clear();
  const auto made = mtmd_helper_bitmap_init_from_buf(context_.get(), reinterpret_cast<const unsigned char*>(image.data()), image.size(), !whole, mtmd_helper_init_opt_default());
  const std::unique_ptr<mtmd_bitmap, Deleter> bitmap(made.bitmap);
  if (!bitmap || mtmd_bitmap_is_audio(bitmap.get())) return Error{ErrorCode::invalid_argument, "this image is damaged: it could not be decoded"};
  const mtmd_input_part part{nullptr, bitmap.get()};
  const mtmd_input_part* parts[] = {&part};
  Chunks chunks(mtmd_input_chunks_init());
  if (mtmd_tokenize_from_parts(context_.get(), chunks.get(), parts, 1, false) != 0) {
    return Error{ErrorCode::invalid_argument, fmt::format("this image could not be cut for the model{}{}", last_complaint.empty() ? "" : ": ", last_complaint)};
  }
  return chunks;
}

Result<std::vector<TokenId>> LlamaSight::tokens_of(std::string_view image) const {
  const auto chunks = chunks_of(image, false);
  if (!chunks) return chunks.error();
  const auto digest = sha256(image);
  std::vector<TokenId> tokens;
  std::int32_t part = 0;
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks->get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks->get(), i);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT) {
      std::size_t count = 0;
      const llama_token* text = mtmd_input_chunk_get_tokens_text(chunk, &count);
      tokens.insert(tokens.end(), text, text + count);
      continue;
    }
    const auto rows = static_cast<std::int32_t>(mtmd_input_chunk_get_n_tokens(chunk));
    const bool at_once = mtmd_decode_use_non_causal(context_.get(), chunk);
    if (rows < kPictureRowsMin || (at_once && rows > options_.rows_max)) {
      return Error{ErrorCode::invalid_argument, fmt::format("this image becomes {} rows; from {} to {} are possible", rows, kPictureRowsMin, at_once ? options_.rows_max : INT32_MAX)};
    }
    const auto grid = grid_in(context_.get(), chunk);
    if (!grid) return Error{ErrorCode::invalid_argument, "this image takes positions in a way that is not known here"};
    const std::vector<TokenId> ids = picture_tokens(digest, part++, rows);
    const MutexLock lock(grids_mutex_);
    if (grids_.size() >= kGridsMax) grids_.clear();
    grids_[name_of(ids)] = *grid;
    tokens.insert(tokens.end(), ids.begin(), ids.end());
  }
  if (part == 0) return Error{ErrorCode::invalid_argument, "this image becomes nothing that the model reads"};
  return tokens;
}

Result<void> LlamaSight::check(std::string_view image) const {
  const MutexLock lock(decoding_);
  const auto chunks = chunks_of(image, true);
  if (!chunks) return chunks.error();
  return {};
}

std::optional<LlamaSight::Grid> LlamaSight::grid_of(std::span<const TokenId> rows) const {
  if (rows.size() < static_cast<std::size_t>(kPictureRowsMin)) return std::nullopt;
  const MutexLock lock(grids_mutex_);
  const auto found = grids_.find(name_of(rows));
  return found == grids_.end() || std::cmp_less(rows.size(), found->second.rows) ? std::nullopt : std::optional(found->second);
}

Result<LlamaSight::Grid> LlamaSight::see(llama_context* context, SequenceId sequence, llama_pos position, std::string_view image, std::int32_t part) {
  const MutexLock lock(decoding_);
  const auto chunks = chunks_of(image, true);
  if (!chunks) return chunks.error();
  for (std::size_t i = 0; i < mtmd_input_chunks_size(chunks->get()); ++i) {
    const mtmd_input_chunk* chunk = mtmd_input_chunks_get(chunks->get(), i);
    if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT || part-- > 0) continue;
    last_complaint.clear();
    if (mtmd_encode_chunk(context_.get(), chunk) != 0) return Error{ErrorCode::internal, fmt::format("an image could not be encoded: {}", last_complaint)};
    llama_pos after = position;
    const int code = mtmd_helper_decode_image_chunk(context_.get(), context, chunk, mtmd_get_output_embd(context_.get()), position, static_cast<llama_seq_id>(sequence), options_.rows_max, &after, nullptr, nullptr);
    if (code == 1) return Error{ErrorCode::overloaded, "the KV cache has no room for this image"};
    if (code != 0) return Error{ErrorCode::internal, fmt::format("the engine failed an image (code {}): {}", code, last_complaint)};
    const auto grid = grid_in(context_.get(), chunk);
    if (!grid || after - position != grid->positions) return Error{ErrorCode::internal, "an image took other positions than were expected"};
    return *grid;
  }
  return Error{ErrorCode::internal, "an image has fewer parts than it had"};
}

}  // namespace pensieve
