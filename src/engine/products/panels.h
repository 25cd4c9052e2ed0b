// Many rows: a block of several outputs is unpacked side by side, each output in a lane, and then used for
// all rows of the tile. No sum crosses lanes, and a scale is multiplied once for its part, not for each four products.
#pragma once

#include "engine/products/format_bits.h"

namespace pensieve {
namespace {

// One block of a group of rows: four bytes of each row, then the next four of each. Their order is the numbers' own, whatever the format's.
struct Group {
  std::int8_t q[kProductBlock / 4][kGroup][4];
  // What offsets need, of each row: with kPairSums the sums of two parts of 16, in 16 bits each; else with one factor the sum of a part's
  // bytes times what an offset is of a scale, negative; else the sum of a part of 32 times its scale, as a float.
  std::int32_t sums[16][kGroup];
  float d[8][kGroup];  // Whole scales: the first alone.
};
static_assert(sizeof(Group) == kGroup * kProductScratchOfBlock);

template <typename Isa, typename Format>
struct Panels {
  // `rows` of the input from `row` on, at most a tile, with outputs [begin, end).
  static void run(const ProductInput& in, std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    auto* groups = reinterpret_cast<Group*>(scratch);
    quantise(in, row, row + rows, groups);
    multiply(in, groups, row, rows, begin, end);
  }

 private:
  // Rows [begin, end) of the input, to [group][block]. In the last group, what no row has is used for nothing.
  static void quantise(const ProductInput& in, std::int64_t begin, std::int64_t end, Group* to) {
    const std::int64_t blocks = in.width / kProductBlock;
    alignas(64) std::int8_t q[kGroup][kProductBlock] = {};
    alignas(64) std::int16_t sums[kGroup][16] = {};
    for (std::int64_t first = begin; first < end; first += kGroup) {
      const std::int64_t rows = end - first < kGroup ? end - first : kGroup;
      for (std::int64_t b = 0; b < blocks; ++b, ++to) {
        for (std::int64_t r = 0; r < rows; ++r) {
          const auto* from = reinterpret_cast<const float*>(in.activations + static_cast<std::size_t>(first + r) * in.activations_row) + b * kProductBlock;
          if constexpr (Format::kWholeScales) {
            Isa::template quantise_block<kNaturalOrder>(from, q[r], to->d[0][r], sums[r]);
          } else {
            float d[8];
            Isa::template quantise_32s<kNaturalOrder>(from, q[r], d, sums[r]);
            for (int part = 0; part < 8; ++part) to->d[part][r] = d[part];
          }
        }
        for (int i = 0; i < 8; ++i) put_together(q[0] + 32 * i, kProductBlock, to->q[8 * i]);
        if constexpr (Isa::template kPairSums<Format>) put_together(sums[0], sizeof(sums[0]), to->sums);
        else for (std::int64_t r = 0; r < rows; ++r) offsets_of(sums[r], r, *to);
      }
    }
  }

  static void multiply(const ProductInput& in, const Group* groups, std::int64_t row, std::int64_t rows, std::int64_t begin, std::int64_t end) {
    const std::int64_t blocks = in.width / kProductBlock;
    for (std::int64_t n = begin; n < end; n += Isa::kLanes) {
      const int outputs = static_cast<int>(end - n < Isa::kLanes ? end - n : Isa::kLanes);
      const std::byte* weights = in.weights + static_cast<std::size_t>(n) * in.weights_row;
      typename Isa::LaneSums sums[kProductTileRows];
      for (std::int64_t b = 0; b < blocks; ++b) {
        typename Isa::Panel panel;
        Isa::template pack<Format>(weights + b * Format::kBytes, static_cast<std::int64_t>(in.weights_row), outputs, panel);
        for (std::int64_t first = 0; first < rows; first += kGroup) {
          const Group& group = groups[first / kGroup * blocks + b];
          switch (rows - first) {
            case 1: Isa::template add_panel<Format, 1>(panel, group, sums + first); break;
            case 2: Isa::template add_panel<Format, 2>(panel, group, sums + first); break;
            case 3: Isa::template add_panel<Format, 3>(panel, group, sums + first); break;
            case 4: Isa::template add_panel<Format, 4>(panel, group, sums + first); break;
            case 5: Isa::template add_panel<Format, 5>(panel, group, sums + first); break;
            case 6: Isa::template add_panel<Format, 6>(panel, group, sums + first); break;
            case 7: Isa::template add_panel<Format, 7>(panel, group, sums + first); break;
            default: Isa::template add_panel<Format, kGroup>(panel, group, sums + first); break;
          }
        }
      }
      for (std::int64_t r = 0; r < rows; ++r)
        Isa::store(sums[r], reinterpret_cast<float*>(in.out + static_cast<std::size_t>(row + r) * in.out_row) + n, outputs);
    }
  }

  INLINED static void offsets_of(const std::int16_t* sums, std::int64_t r, Group& to) {
    for (int part = 0; part < (Format::kWholeScales ? 16 : 8); ++part) {
      const int sum = Format::kWholeScales ? sums[part] : sums[2 * part] + sums[2 * part + 1];
      if constexpr (!Format::kOneFactor) {
        const float whole = static_cast<float>(sum) * to.d[part][r];
        __builtin_memcpy(&to.sums[part][r], &whole, sizeof(whole));
      } else if constexpr (requires { Format::kOffsetShift; }) {
        to.sums[part][r] = -(sum << Format::kOffsetShift);  // What the dot products of a part begin at.
      }
    }
  }

  // Of each of eight rows, `stride` bytes apart, 32 bytes: four of each, then the next four of each.
  INLINED static void put_together(const void* rows, std::int64_t stride, void* to) {
    __m256i of_rows[8], together[8];
    for (int r = 0; r < 8; ++r) of_rows[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(static_cast<const std::byte*>(rows) + r * stride));
    transpose(of_rows, together);
    for (int i = 0; i < 8; ++i) _mm256_storeu_si256(static_cast<__m256i*>(to) + i, together[i]);
  }
};

}  // namespace
}  // namespace pensieve
