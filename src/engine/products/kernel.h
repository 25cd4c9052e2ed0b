// What does not depend on the instruction set: which thread multiplies which rows by which outputs, and in what order.
//
// Every format is brought to one shape: of a block of 256 weights small unsigned numbers u, a small whole scale s and a small whole
// offset m of each part of it, and two factors, so that
//   weight = scale * s * u - offset * m.
// With activations a = d * q the block gives, the sums in whole numbers,
//   d * scale * [sum(s * dot(u, q))] - d * offset * [sum(m * (sum of q over the part))].
// Formats whose blocks are of 32 weights have no whole scales: eight of their blocks are one of ours, a scale and an offset for each,
//   weight = scale * u - offset.
// Their activations have a scale for each 32, too, as the engine gives them.
// The bytes of the activations lie in the order in which the format yields its weights, so that unpacking need not bring those in order.
//
// There are two ways, octets.h for a few rows and panels.h for more. Both take the same steps for a row and an output, in any instruction
// set: whole sums are exact, whatever their order, and what they give is added block by block, in formats of blocks of 32 part by part.
//
// Each instruction set includes this in a source file of its own, which is compiled for it; so nothing here may be visible
// to others (an inline function that the linker shares would carry its instructions elsewhere): everything is in an anonymous
// namespace, and the standard library stays out.
//
// `Isa` has Q4K, Q5K, Q6K, Q4_0, Q4_1 and Q8_0, each with kBytes of a block of 256 weights; kWholeScales; kOneFactor, where an offset is
// 2^kOffsetShift times a scale (or there is none: no kOffsetShift), so that it is taken off in whole numbers; and kOrder, the order in
// which few rows want the parts of 16 of their bytes. And:
//   - quantise_block<kOrder>(from, q, d, sums): 256 numbers as bytes in that order, their scale, the sums of each sixteen;
//     quantise_32s<kOrder>(from, q, d, sums): the same with a scale for each 32.
//   - For few rows block_sums<Format, Rows>(at, blocks, q, sums, scale, offset, products, offsets), one block with the same of `Rows` rows,
//     for each eight lanes whose sum is that of the products (less offsets, with one factor), and of the offsets; without whole scales
//     part_products<Format, Rows>(at, blocks, q, sums, d, products), for each those of the eight parts.
//   - For many kLanes; kPanelRows<Format>, from which on they are worth their packing; Panel; pack<Format>(at, stride, outputs, panel), the
//     same block of so many outputs, lanes behind the last being anything; LaneSums, of one row, zero at first; kPairSums<Format>, for
//     Group; add_panel<Format, Rows>(panel, group, sums); and store(sums, out, outputs).
#pragma once

#include "engine/products/octets.h"
#include "engine/products/panels.h"

namespace pensieve {
namespace {

template <typename Isa>
struct Products {
  // Rows [row_begin, row_end) and outputs [begin, end): what is one thread's.
  template <typename Format>
  static void run_range(const ProductInput& in, std::int64_t row_begin, std::int64_t row_end, std::int64_t begin, std::int64_t end, std::byte* scratch) {
    static_assert(Isa::template kPanelRows<Format> <= 5);
    for (std::int64_t row = row_begin; row < row_end; row += kProductTileRows) {
      const std::int64_t rows = row_end - row < kProductTileRows ? row_end - row : kProductTileRows;
      if (rows >= Isa::template kPanelRows<Format>) {
        Panels<Isa, Format>::run(in, row, rows, begin, end, scratch);
        continue;
      }
      switch (rows) {
        case 1: Octets<Isa, Format, 1>::run(in, row, begin, end, scratch); break;
        case 2: Octets<Isa, Format, 2>::run(in, row, begin, end, scratch); break;
        case 3: Octets<Isa, Format, 3>::run(in, row, begin, end, scratch); break;
        default: Octets<Isa, Format, 4>::run(in, row, begin, end, scratch); break;
      }
    }
  }

  // Shared by outputs, each thread makes the bytes of all rows for itself, which needs no barrier and is as much work as some outputs
  // more for each row. Shared by rows it makes those of its own, but the shares are groups: 64 of them are 4.3 for each of 15 threads,
  // and the slowest has 5; and panels are packed for fewer rows at a time, which is as much work as some rows more. The better of the two.
  template <typename Format>
  static void run_format(const ProductInput& in, int part, int parts, std::byte* scratch) {
    constexpr std::int64_t kBytesOutputs = 20, kPackRows = 4;
    const auto with_packing = [](std::int64_t rows) { return rows + (rows + kProductTileRows - 1) / kProductTileRows * kPackRows; };
    const std::int64_t groups = in.rows / kGroup;
    const std::int64_t most = (groups + parts - 1) / parts * kGroup;
    if (groups >= parts && with_packing(most) * in.outputs * parts < with_packing(in.rows) * (in.outputs + kBytesOutputs * parts)) {
      const std::int64_t row_end = part + 1 == parts ? in.rows : groups * (part + 1) / parts * kGroup;
      return run_range<Format>(in, groups * part / parts * kGroup, row_end, 0, in.outputs, scratch);
    }
    // Full panels, but for the last: else there would be a part of one in each share.
    const std::int64_t units = (in.outputs + Isa::kLanes - 1) / Isa::kLanes;
    const std::int64_t begin = units * part / parts * Isa::kLanes, end = units * (part + 1) / parts * Isa::kLanes;
    run_range<Format>(in, 0, in.rows, begin, end < in.outputs ? end : in.outputs, scratch);
  }

  static void run(const ProductInput& in, int part, int parts, std::byte* scratch) {
    switch (in.format) {
      case WeightFormat::q4_k: return run_format<typename Isa::Q4K>(in, part, parts, scratch);
      case WeightFormat::q5_k: return run_format<typename Isa::Q5K>(in, part, parts, scratch);
      case WeightFormat::q6_k: return run_format<typename Isa::Q6K>(in, part, parts, scratch);
      case WeightFormat::q4_0: return run_format<typename Isa::Q4_0>(in, part, parts, scratch);
      case WeightFormat::q4_1: return run_format<typename Isa::Q4_1>(in, part, parts, scratch);
      case WeightFormat::q8_0: return run_format<typename Isa::Q8_0>(in, part, parts, scratch);
    }
  }
};

}  // namespace
}  // namespace pensieve
