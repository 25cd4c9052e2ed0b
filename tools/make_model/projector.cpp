#include "projector.h"

#include <fmt/format.h>

#include <string_view>

namespace pensieve {
namespace {

// 64 pixels in patches of 8, two by two pooled: 16 rows an image.
constexpr Projector kProjectors[] = {
    {.name = "tiny-sight", .title = "Tiny stand-in (projector)", .kind = "gemma3", .image_size = 64, .patch_size = 8, .layers = 2, .width = 64, .heads = 4, .feed_forward = 128, .pooled = 2, .text_width = 256},
    {.name = "tiny-sight-mrope", .title = "Tiny stand-in (projector, M-RoPE)", .kind = "qwen2vl_merger", .image_size = 64, .patch_size = 8, .layers = 2, .width = 64, .heads = 4, .feed_forward = 128, .pooled = 2, .text_width = 256},
};

}  // namespace

std::span<const Projector> all_projectors() { return kProjectors; }

ProjectorBlueprint blueprint_of(const Projector& p) {
  ProjectorBlueprint made;
  made.texts = {{"clip.projector_type", p.kind}};
  const bool merges = std::string_view(p.kind) == "qwen2vl_merger";
  const auto number = [&](const char* key, std::int64_t value) { made.blueprint.numbers.emplace_back(key, static_cast<std::uint32_t>(value)); };
  made.blueprint.numbers.emplace_back("clip.has_vision_encoder", true);
  made.blueprint.numbers.emplace_back("clip.use_gelu", true);
  made.blueprint.numbers.emplace_back("clip.vision.attention.layer_norm_epsilon", 1e-6f);
  number("clip.vision.image_size", p.image_size);
  number("clip.vision.patch_size", p.patch_size);
  number("clip.vision.embedding_length", p.width);
  number("clip.vision.feed_forward_length", p.feed_forward);
  number("clip.vision.block_count", p.layers);
  number("clip.vision.attention.head_count", p.heads);
  number("clip.vision.projection_dim", p.text_width);
  if (merges) number("clip.vision.spatial_merge_size", p.pooled);
  else number("clip.vision.projector.scale_factor", p.pooled);
  made.reals = {{"clip.vision.image_mean", {0.5f, 0.5f, 0.5f}}, {"clip.vision.image_std", {0.5f, 0.5f, 0.5f}}};

  std::vector<TensorShape>& tensors = made.blueprint.tensors;
  const auto tensor = [&](std::string name, std::vector<std::int64_t> dims, Fill fill = Fill::normal) { tensors.push_back({std::move(name), Precision::full, std::move(dims), fill}); };
  const std::int64_t side = p.image_size / p.patch_size;
  tensor("v.patch_embd.weight", {p.patch_size, p.patch_size, 3, p.width});
  if (merges) {  // A picture is two frames of a film to it.
    tensor("v.patch_embd.weight.1", {p.patch_size, p.patch_size, 3, p.width});
  } else {
    tensor("v.patch_embd.bias", {p.width});
    tensor("v.position_embd.weight", {p.width, side * side});
  }
  for (std::int64_t i = 0; i < p.layers; ++i) {
    const std::string block = fmt::format("v.blk.{}.", i);
    for (const char* norm : {"ln1", "ln2"}) {
      tensor(block + norm + ".weight", {p.width}, Fill::ones);
      tensor(block + norm + ".bias", {p.width});
    }
    for (const char* part : {"attn_q", "attn_k", "attn_v", "attn_out"}) {
      tensor(block + part + ".weight", {p.width, p.width});
      tensor(block + part + ".bias", {p.width});
    }
    tensor(block + "ffn_up.weight", {p.width, p.feed_forward});
    tensor(block + "ffn_up.bias", {p.feed_forward});
    tensor(block + "ffn_down.weight", {p.feed_forward, p.width});
    tensor(block + "ffn_down.bias", {p.width});
  }
  tensor("v.post_ln.weight", {p.width}, Fill::ones);
  tensor("v.post_ln.bias", {p.width});
  if (merges) {
    const std::int64_t merged = p.width * p.pooled * p.pooled;
    tensor("mm.0.weight", {merged, merged});
    tensor("mm.0.bias", {merged});
    tensor("mm.2.weight", {merged, p.text_width});
    tensor("mm.2.bias", {p.text_width});
    return made;
  }
  tensor("mm.soft_emb_norm.weight", {p.width}, Fill::ones);
  tensor("mm.input_projection.weight", {p.text_width, p.width});
  return made;
}

}  // namespace pensieve
