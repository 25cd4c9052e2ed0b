// What stands for the rows of an image among a prompt's tokens: ids below 0, made of the
// image's SHA-256, so that equal ids mean equal images. Whatever compares, names or
// keeps prompts by their ids (slots, blocks, journals) is right about images
// without knowing of them.
//
//      bit 31  1
//      bit 30  1 in the first row of a picture
//      29 - 0  of row i of a picture, i < 8, the bits from 30 i on of the digest; beyond, mixed from all of it
//
// So four rows already have 120 bits of the digest, as many as the names of blocks.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "core/request.h"

namespace pensieve {

inline constexpr std::int32_t kPictureRowsMin = 4;  // With fewer rows a picture has no safe name.

constexpr bool is_picture(TokenId token) { return token < 0; }
constexpr bool begins_picture(TokenId token) { return token < 0 && (static_cast<std::uint32_t>(token) >> 30 & 1) != 0; }

// The ids of part `part` of an image (some models take one in tiles).
inline std::vector<TokenId> picture_tokens(const std::array<std::uint64_t, 4>& digest, std::int32_t part, std::int32_t rows) {
  const auto mix = [](std::uint64_t z) {  // SplitMix64.
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  };
  std::array<std::uint64_t, 4> words = digest;
  for (std::uint64_t& word : words) word ^= mix(static_cast<std::uint64_t>(part));
  const auto bits_from = [&](std::size_t at) {
    const std::uint64_t low = words[at / 64] >> (at % 64);
    return at % 64 == 0 || at / 64 == 3 ? low : low | words[at / 64 + 1] << (64 - at % 64);
  };
  std::uint64_t all = 0;
  for (const std::uint64_t word : words) all = mix(all ^ word);
  std::vector<TokenId> tokens;
  for (std::int32_t row = 0; row < rows; ++row) {
    const auto i = static_cast<std::uint64_t>(row);
    const std::uint64_t bits = i < 8 ? bits_from(i * 30) : mix(all + (i + 1) * 0x9E3779B97F4A7C15ull);
    const std::uint32_t id = 0x80000000u | (row == 0 ? 0x40000000u : 0u) | (static_cast<std::uint32_t>(bits) & 0x3FFFFFFFu);
    tokens.push_back(static_cast<TokenId>(id));
  }
  return tokens;
}

}  // namespace pensieve
