#include "base/sha256.h"

#include <bit>
#include <cmath>
#include <cstring>

namespace pensieve {
namespace {

using Word = std::uint32_t;

// The first 32 bits of the fractional parts of roots of the first 64 primes, as the standard defines them.
struct Constants {
  std::array<Word, 64> cube{};
  std::array<Word, 8> square{};
  Constants() {
    std::size_t count = 0;
    for (std::uint32_t n = 2; count < cube.size(); ++n) {
      bool prime = true;
      for (std::uint32_t d = 2; d * d <= n; ++d) prime = prime && n % d != 0;
      if (!prime) continue;
      const auto fraction = [](long double root) { return static_cast<Word>((root - std::floor(root)) * 4294967296.0L); };
      cube[count] = fraction(std::cbrt(static_cast<long double>(n)));
      if (count < square.size()) square[count] = fraction(std::sqrt(static_cast<long double>(n)));
      ++count;
    }
  }
};

void add_block(std::array<Word, 8>& state, const unsigned char* block, const std::array<Word, 64>& constants) {
  std::array<Word, 64> w{};
  for (std::size_t i = 0; i < 16; ++i) w[i] = Word{block[4 * i]} << 24 | Word{block[4 * i + 1]} << 16 | Word{block[4 * i + 2]} << 8 | Word{block[4 * i + 3]};
  for (std::size_t i = 16; i < 64; ++i) {
    const Word s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const Word s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  auto [a, b, c, d, e, f, g, h] = state;
  for (std::size_t i = 0; i < 64; ++i) {
    const Word first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + w[i];
    const Word second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + first;
    d = c;
    c = b;
    b = a;
    a = first + second;
  }
  const std::array<Word, 8> made = {a, b, c, d, e, f, g, h};
  for (std::size_t i = 0; i < 8; ++i) state[i] += made[i];
}

}  // namespace

std::array<std::uint64_t, 4> sha256(std::string_view bytes) {
  static const Constants constants;
  std::array<Word, 8> state = constants.square;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t at = 0;
  for (; bytes.size() - at >= 64; at += 64) add_block(state, data + at, constants.cube);
  // The rest, a bit, zeros, and the length in bits.
  std::array<unsigned char, 128> last{};
  const std::size_t left = bytes.size() - at;
  if (left > 0) std::memcpy(last.data(), data + at, left);
  last[left] = 0x80;
  const std::size_t size = left < 56 ? 64 : 128;
  const std::uint64_t bits = std::uint64_t{bytes.size()} * 8;
  for (std::size_t i = 0; i < 8; ++i) last[size - 1 - i] = static_cast<unsigned char>(bits >> (8 * i));
  for (std::size_t i = 0; i < size; i += 64) add_block(state, last.data() + i, constants.cube);
  std::array<std::uint64_t, 4> digest{};
  for (std::size_t i = 0; i < 4; ++i) digest[i] = std::uint64_t{state[2 * i]} << 32 | state[2 * i + 1];
  return digest;
}

}  // namespace pensieve
