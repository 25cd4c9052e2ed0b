// How the bits of blocks are read, and numbers brought into order: what both instruction sets need (kernel.h says who includes this and
// what may not be visible outside).
#pragma once

#include <immintrin.h>

#include "engine/products/products.h"

namespace pensieve {
namespace {

constexpr int kGroup = 8;  // Rows that are multiplied together: so many sums stay in registers.

#define INLINED [[gnu::always_inline]] inline  // A block that went through memory would cost half the speed.

INLINED float half_at(const std::byte* from) {
  std::uint16_t bits = 0;
  __builtin_memcpy(&bits, from, sizeof(bits));
  return _cvtsh_ss(bits);
}

INLINED std::uint32_t word_at(const void* from) {
  std::uint32_t word = 0;
  __builtin_memcpy(&word, from, sizeof(word));
  return word;
}

// The order in which parts of 16 numbers lie.
struct Order {
  int of[16];
};
constexpr Order order_of_32s(const int (&of)[8]) {
  Order order{};
  for (int i = 0; i < 16; ++i) order.of[i] = 2 * of[i / 2] + i % 2;
  return order;
}
constexpr Order kNaturalOrder = order_of_32s({0, 1, 2, 3, 4, 5, 6, 7});

INLINED __m128i load_16(const std::byte* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); }

// Q4_K and Q5_K: two factors, then scales and offsets of eight parts of 32, 6 bits each, in twelve bytes. Eight bytes of each.
struct SixBits {
  __m128i scales, offsets;
};
INLINED SixBits six_bits(const std::byte* at) {
  const std::uint32_t a = word_at(at + 4), b = word_at(at + 8), c = word_at(at + 12);
  const std::uint32_t scales_high = (c & 0x0F0F0F0Fu) | (((a >> 6) & 0x03030303u) << 4);
  const std::uint32_t offsets_high = ((c >> 4) & 0x0F0F0F0Fu) | (((b >> 6) & 0x03030303u) << 4);
  return {_mm_set_epi32(0, 0, static_cast<int>(scales_high), static_cast<int>(a & 0x3F3F3F3Fu)),
          _mm_set_epi32(0, 0, static_cast<int>(offsets_high), static_cast<int>(b & 0x3F3F3F3Fu))};
}

// Half-precision numbers that lie `stride` bytes apart.
INLINED __m256 eight_halves(const std::byte* from, std::int64_t stride) {
  std::uint16_t bits[8];
  for (int i = 0; i < 8; ++i) __builtin_memcpy(&bits[i], from + i * stride, sizeof(bits[i]));
  return _mm256_cvtph_ps(_mm_set_epi16(static_cast<short>(bits[7]), static_cast<short>(bits[6]), static_cast<short>(bits[5]), static_cast<short>(bits[4]),
                                       static_cast<short>(bits[3]), static_cast<short>(bits[2]), static_cast<short>(bits[1]), static_cast<short>(bits[0])));
}

// Where each part of 32 numbers lies, in an order that keeps those together.
constexpr Order places_of_32s(const Order& order) {
  Order places{};
  for (int i = 0; i < 8; ++i) places.of[order.of[2 * i] / 2] = i;
  return places;
}

// Eight vectors of eight lanes, columns for rows.
INLINED void transpose(const __m256i* from, __m256i* to) {
  __m256i pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_epi32(from[i], from[i + 1]);
    pairs[i + 1] = _mm256_unpackhi_epi32(from[i], from[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {  // fours[i + c]: lane c of each half, of rows i to i + 3.
    fours[i] = _mm256_unpacklo_epi64(pairs[i], pairs[i + 2]);
    fours[i + 1] = _mm256_unpackhi_epi64(pairs[i], pairs[i + 2]);
    fours[i + 2] = _mm256_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
    fours[i + 3] = _mm256_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
  }
  for (int c = 0; c < 4; ++c) {
    to[c] = _mm256_permute2x128_si256(fours[c], fours[4 + c], 0x20);
    to[4 + c] = _mm256_permute2x128_si256(fours[c], fours[4 + c], 0x31);
  }
}

}  // namespace
}  // namespace pensieve
