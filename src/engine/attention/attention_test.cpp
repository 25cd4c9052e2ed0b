// The kernels beside a plain reference in double precision, and the promise of
// attention.h bit for bit: a row's result depends on nothing but itself.
#include "engine/attention/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

namespace pensieve {
namespace {

std::uint16_t half_bits(float x) {
  // To nearest even; what would be no normal half becomes 0.
  if (std::abs(x) < 0x1p-14f) return 0;
  if (std::isinf(x)) return x < 0 ? 0xFC00 : 0x7C00;
  int exponent = 0;
  const float fraction = std::frexp(std::abs(x), &exponent);  // 0.5 to 1
  const auto steps = static_cast<int>(std::nearbyint(fraction * 2048));
  const int bits = ((exponent + 14) << 10) + (steps - 1024);
  return static_cast<std::uint16_t>(bits | (x < 0 ? 0x8000 : 0));
}
float from_half(std::uint16_t bits) {
  if (bits == 0) return 0;
  if (bits == 0xFC00) return -INFINITY;
  const float value = std::ldexp(static_cast<float>(1024 + (bits & 1023)), ((bits >> 10) & 31) - 25);
  return bits & 0x8000 ? -value : value;
}

struct Shape {
  std::int64_t rows = 1, heads = 4, kv_heads = 2, streams = 1, cells = 70, key_width = 96, value_width = 96;
  CellFormat format = CellFormat::f16;
  float softcap = 0;
  bool sinks = false;
  std::int64_t window = 0;  // Cells that a row sees back; 0: all.
};

// Rows are the last `rows` of the cells of each stream; stream s is s * 9 cells shorter, its rows see nothing beyond.
struct Case {
  explicit Case(const Shape& with, unsigned seed = 1) : shape(with) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> number(-1, 1);
    const auto& s = shape;
    q.resize(static_cast<std::size_t>(s.streams * s.heads * s.rows * s.key_width));
    for (float& x : q) x = 4 * number(random);
    keys = cells(s.key_width, random);
    values = cells(s.value_width, random);
    for (std::int64_t h = 0; h < s.heads; ++h) sinks.push_back(number(random));
    mask.resize(static_cast<std::size_t>(s.streams * s.rows * s.cells));
    for (std::int64_t stream = 0; stream < s.streams; ++stream) {
      for (std::int64_t r = 0; r < s.rows; ++r) {
        for (std::int64_t j = 0; j < s.cells; ++j)
          mask[static_cast<std::size_t>((stream * s.rows + r) * s.cells + j)] =
              half_bits(sees(stream, r, j) ? 0 : -INFINITY);
      }
    }
  }

  std::int64_t position(std::int64_t stream, std::int64_t row) const {
    return shape.cells - 9 * stream - shape.rows + row;
  }
  bool sees(std::int64_t stream, std::int64_t row, std::int64_t cell) const {
    const std::int64_t at = position(stream, row);
    return cell <= at && (shape.window == 0 || cell > at - shape.window);
  }

  std::size_t cell_bytes(std::int64_t width) const {
    return static_cast<std::size_t>(shape.format == CellFormat::f16 ? width * 2 : width / 32 * 34);
  }

  // [stream][cell][kv head], as a KV cache has it.
  std::vector<std::byte> cells(std::int64_t width, std::mt19937& random) {
    std::uniform_real_distribution<float> number(-1, 1);
    const std::int64_t count = shape.streams * shape.cells * shape.kv_heads;
    std::vector<std::byte> made;
    const auto put = [&](const void* from, std::size_t size) {
      made.insert(made.end(), static_cast<const std::byte*>(from), static_cast<const std::byte*>(from) + size);
    };
    for (std::int64_t i = 0; i < count; ++i) {
      for (std::int64_t d = 0; d < width; ++d) {
        if (shape.format == CellFormat::q8_0 && d % 32 == 0) {
          const std::uint16_t scale = half_bits(0.01f * (2 + number(random)));
          put(&scale, 2);
        }
        if (shape.format == CellFormat::f16) {
          const std::uint16_t bits = half_bits(number(random));
          put(&bits, 2);
        } else {
          const auto byte = static_cast<std::int8_t>(127 * number(random));
          put(&byte, 1);
        }
      }
    }
    return made;
  }

  double at(const std::vector<std::byte>& from, std::int64_t width, std::int64_t stream, std::int64_t cell,
            std::int64_t kv_head, std::int64_t d) const {
    const std::byte* base =
        from.data() +
        cell_bytes(width) * static_cast<std::size_t>((stream * shape.cells + cell) * shape.kv_heads + kv_head);
    std::uint16_t bits = 0;
    if (shape.format == CellFormat::f16) {
      std::memcpy(&bits, base + 2 * d, 2);
      return static_cast<double>(from_half(bits));
    }
    std::memcpy(&bits, base + d / 32 * 34, 2);
    return static_cast<double>(from_half(bits)) *
           static_cast<double>(static_cast<std::int8_t>(base[d / 32 * 34 + 2 + d % 32]));
  }

  AttentionInput input(std::vector<float>& out) const {
    const auto& s = shape;
    const auto size = [](std::int64_t n) { return static_cast<std::size_t>(n); };
    out.assign(size(s.streams * s.rows * s.heads * s.value_width), NAN);
    AttentionInput in;
    in.q = reinterpret_cast<const std::byte*>(q.data());
    in.q_row = size(s.key_width) * 4, in.q_head = in.q_row * size(s.rows), in.q_stream = in.q_head * size(s.heads);
    in.k = keys.data(), in.k_head = cell_bytes(s.key_width), in.k_cell = in.k_head * size(s.kv_heads),
    in.k_stream = in.k_cell * size(s.cells);
    in.v = values.data(), in.v_head = cell_bytes(s.value_width), in.v_cell = in.v_head * size(s.kv_heads),
    in.v_stream = in.v_cell * size(s.cells);
    in.k_format = in.v_format = s.format;
    in.mask = reinterpret_cast<const std::byte*>(mask.data()), in.mask_row = size(s.cells) * 2,
    in.mask_stream = in.mask_row * size(s.rows);
    in.sinks = s.sinks ? sinks.data() : nullptr;
    in.out = reinterpret_cast<std::byte*>(out.data());
    in.out_head = size(s.value_width) * 4, in.out_row = in.out_head * size(s.heads),
    in.out_stream = in.out_row * size(s.rows);
    in.rows = s.rows, in.heads = s.heads, in.kv_heads = s.kv_heads, in.streams = s.streams, in.cells = s.cells;
    in.key_width = s.key_width, in.value_width = s.value_width;
    in.scale = 0.1f, in.softcap = s.softcap;
    return in;
  }

  // All numbers of one row and head.
  std::vector<double> reference(std::int64_t stream, std::int64_t row, std::int64_t head) const {
    const auto& s = shape;
    const std::int64_t kv_head = head / (s.heads / s.kv_heads);
    std::vector<double> scores;
    double top = s.sinks ? static_cast<double>(sinks[static_cast<std::size_t>(head)]) : -INFINITY;
    for (std::int64_t j = 0; j < s.cells; ++j) {
      double score = 0;
      for (std::int64_t i = 0; i < s.key_width; ++i)
        score += static_cast<double>(
                     q[static_cast<std::size_t>(((stream * s.heads + head) * s.rows + row) * s.key_width + i)]) *
                 at(keys, s.key_width, stream, j, kv_head, i);
      score *= static_cast<double>(0.1f);
      if (s.softcap != 0) score = static_cast<double>(s.softcap) * std::tanh(score / static_cast<double>(s.softcap));
      scores.push_back(sees(stream, row, j) ? score : -INFINITY);
      top = std::max(top, scores.back());
    }
    double total = s.sinks ? std::exp(static_cast<double>(sinks[static_cast<std::size_t>(head)]) - top) : 0;
    std::vector<double> sums(static_cast<std::size_t>(s.value_width));
    for (std::int64_t j = 0; j < s.cells; ++j) {
      const double weight = std::exp(scores[static_cast<std::size_t>(j)] - top);
      total += weight;
      for (std::int64_t d = 0; d < s.value_width; ++d)
        sums[static_cast<std::size_t>(d)] += weight * at(values, s.value_width, stream, j, kv_head, d);
    }
    for (double& sum : sums) sum /= total;
    return sums;
  }

  Shape shape;
  std::vector<float> q, sinks;
  std::vector<std::byte> keys, values;
  std::vector<std::uint16_t> mask;
};

std::vector<float> run(const AttentionKernel& kernel, const AttentionInput& in, std::vector<float>& out,
                       int parts = 3) {
  const std::size_t floats = attention_scratch_floats(in.key_width, in.value_width);
  const std::unique_ptr<float, decltype(&std::free)> scratch(
      static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64)), &std::free);
  for (std::size_t i = 0; i < floats; ++i) scratch.get()[i] = NAN;  // Nothing in it may matter.
  for (int part = 0; part < parts; ++part) kernel.run(in, part, parts, scratch.get());
  return out;
}
std::vector<float> run(const AttentionKernel& kernel, const Case& with, int parts = 3) {
  std::vector<float> out;
  const AttentionInput in = with.input(out);
  return run(kernel, in, out, parts);
}

class Kernels : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const AttentionKernel* const* kernel = attention_kernels(); *kernel != nullptr; ++kernel)
      kernels.push_back(*kernel);
    // Neither AVX-512 nor AVX2: the engine keeps its own attention there, and nothing of this is in use.
    if (kernels.empty()) GTEST_SKIP() << "no kernel for this processor";
  }
  std::vector<const AttentionKernel*> kernels;
};

TEST_F(Kernels, ComputeAttention) {
  std::vector<Shape> shapes;
  for (const std::int64_t rows : {1, 2, 7, 8, 9, 16, 33, 64, 70}) {
    for (const std::int64_t cells : {rows + 18, rows + 64, rows + 200})
      shapes.push_back({.rows = rows, .streams = 3, .cells = cells});
  }
  for (const CellFormat format : {CellFormat::f16, CellFormat::q8_0}) {
    for (const std::int64_t rows : {3, 40}) {
      for (const std::int64_t heads : {2, 6, 14, 16})
        shapes.push_back(
            {.rows = rows, .heads = heads, .cells = 130, .key_width = 64, .value_width = 128, .format = format});
      shapes.push_back({.rows = rows,
                        .heads = 3,
                        .kv_heads = 1,
                        .cells = 100,
                        .key_width = 256,
                        .value_width = 32,
                        .format = format,
                        .softcap = 2});
      shapes.push_back({.rows = rows, .cells = 300, .format = format, .sinks = true, .window = 30});
    }
  }
  for (const AttentionKernel* kernel : kernels) {
    for (const Shape& shape : shapes) {
      const Case with(shape);
      std::vector<float> probe;
      ASSERT_TRUE(attention_takes(with.input(probe)));
      const std::vector<float> out = run(*kernel, with);
      for (std::int64_t stream = 0; stream < shape.streams; ++stream) {
        for (std::int64_t row = 0; row < shape.rows; row += shape.rows > 20 ? 7 : 1) {
          for (std::int64_t head = 0; head < shape.heads; ++head) {
            const std::vector<double> expected = with.reference(stream, row, head);
            for (std::int64_t d = 0; d < shape.value_width; ++d) {
              ASSERT_NEAR(static_cast<double>(out[static_cast<std::size_t>(
                              ((stream * shape.rows + row) * shape.heads + head) * shape.value_width + d)]),
                          expected[static_cast<std::size_t>(d)], 2e-5)
                  << kernel->name << ": " << shape.rows << " rows, " << shape.cells << " cells, row " << row
                  << " of stream " << stream << ", head " << head << ", number " << d;
            }
          }
        }
      }
    }
  }
}

TEST_F(Kernels, ARowDependsOnItselfAlone) {
  for (const AttentionKernel* kernel : kernels) {
    for (const CellFormat format : {CellFormat::f16, CellFormat::q8_0}) {
      // Alone, with others, in other cuts, on other numbers of threads: steps of few rows give what steps of many give.
      for (const auto& [whole_rows, counts] :
           {std::pair<std::int64_t, std::vector<std::int64_t>>{7, {1, 2, 3, 4, 5, 6}},
            {150, {1, 2, 3, 5, 7, 8, 9, 16, 31, 37, 64, 65, 100}}}) {
        const Case whole(
            {.rows = whole_rows, .heads = 12, .kv_heads = 4, .streams = 2, .cells = 400, .format = format});
        const std::vector<float> expected = run(*kernel, whole, 1);
        EXPECT_EQ(expected, run(*kernel, whole, 2));
        EXPECT_EQ(expected, run(*kernel, whole, 5));
        const std::int64_t width = whole.shape.heads * whole.shape.value_width;
        for (const std::int64_t count : counts) {
          for (std::int64_t stream = 0; stream < 2; ++stream) {
            for (std::int64_t first : {std::int64_t{0}, whole_rows - count}) {
              // The same rows of one stream, as a step of their own, and with fewer cells behind them.
              for (const std::int64_t cells :
                   {std::int64_t{400}, (whole.position(stream, first + count - 1) / 16 + 1) * 16}) {
                if (cells > 400) continue;
                std::vector<float> out;
                AttentionInput in = whole.input(out);
                in.streams = 1, in.rows = count, in.cells = cells;
                const auto skip = static_cast<std::size_t>(stream);
                in.q += in.q_stream * skip + in.q_row * static_cast<std::size_t>(first);
                in.k += in.k_stream * skip, in.v += in.v_stream * skip;
                in.mask += in.mask_stream * skip + in.mask_row * static_cast<std::size_t>(first);
                run(*kernel, in, out);
                const auto begin = expected.begin() + (stream * whole_rows + first) * width;
                ASSERT_TRUE(std::equal(begin, begin + count * width, out.begin()))
                    << kernel->name << ": " << count << " of " << whole_rows << " rows from " << first << ", " << cells
                    << " cells";
              }
            }
          }
        }
      }
    }
  }
}

TEST_F(Kernels, RefuseWhatTheyCannotDo) {
  std::vector<float> out;
  AttentionInput in = Case({}).input(out);
  EXPECT_TRUE(attention_takes(in));
  in.key_width = 100;
  EXPECT_FALSE(attention_takes(in));
  in.key_width = 96, in.kv_heads = 3;
  EXPECT_FALSE(attention_takes(in));
}

}  // namespace
}  // namespace pensieve
