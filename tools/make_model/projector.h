// A stand-in for what makes a model see: a vision tower and projector of seeded random
// weights, in the form that libmtmd reads (general.architecture "clip"). Projector "gemma3":
// a SigLIP tower, average pooling, one linear map; its rows see each other. "qwen2vl_merger":
// a tower that takes pictures of any size, two layers; rows stand in two dimensions (M-RoPE).
//
//   Units    pixels; rows are those that an image becomes among a prompt's tokens.
#pragma once

#include "shapes.h"

namespace pensieve {

struct Projector {
  const char* name;
  const char* title;
  const char* kind;
  std::int64_t image_size, patch_size, layers, width, heads, feed_forward;
  std::int64_t pooled;   // So many patches on a side become one row.
  std::int64_t text_width;  // embedding_length of the models that it fits.
};

std::span<const Projector> all_projectors();

// Keys are whole here, their texts apart.
struct ProjectorBlueprint {
  Blueprint blueprint;
  std::vector<std::pair<std::string, std::string>> texts;
  std::vector<std::pair<std::string, std::vector<float>>> reals;
};
ProjectorBlueprint blueprint_of(const Projector& projector);

}  // namespace pensieve
