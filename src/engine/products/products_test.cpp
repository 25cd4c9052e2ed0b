// The kernels beside the engine's own unpacking of each format, and the promise of
// products.h bit for bit: a row's result depends on nothing but itself.
#include "engine/products/products.h"

#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

namespace pensieve {
namespace {

struct Format {
  const char* name;
  WeightFormat format;
  ggml_type type;
};
constexpr Format kFormats[] = {
    {"q4_k", WeightFormat::q4_k, GGML_TYPE_Q4_K},
    {"q5_k", WeightFormat::q5_k, GGML_TYPE_Q5_K},
    {"q6_k", WeightFormat::q6_k, GGML_TYPE_Q6_K},
    {"q4_0", WeightFormat::q4_0, GGML_TYPE_Q4_0},
    {"q4_1", WeightFormat::q4_1, GGML_TYPE_Q4_1},
    {"q8_0", WeightFormat::q8_0, GGML_TYPE_Q8_0},
};

struct Free {
  void operator()(std::byte* memory) const { std::free(memory); }
};

struct Case {
  Case(const Format& with, std::int64_t width_, std::int64_t outputs_, std::int64_t rows_) : type(with.type), width(width_), outputs(outputs_), rows(rows_) {
    std::mt19937 random(static_cast<unsigned>(width + 31 * outputs));
    std::normal_distribution<float> number(0.02f, 1);  // Not centred: offsets must count.
    std::vector<float> plain(static_cast<std::size_t>(width * outputs));
    for (float& x : plain) x = number(random);
    weights.resize(ggml_row_size(type, width) * static_cast<std::size_t>(outputs));
    ggml_quantize_chunk(type, plain.data(), weights.data(), 0, outputs, width, nullptr);
    activations.resize(static_cast<std::size_t>(width * rows));
    for (float& x : activations) x = 3 * number(random);
    input.weights = weights.data();
    input.weights_row = ggml_row_size(type, width);
    input.format = with.format;
    input.activations = reinterpret_cast<const std::byte*>(activations.data());
    input.activations_row = static_cast<std::size_t>(width) * sizeof(float);
    input.width = width, input.outputs = outputs, input.rows = rows;
  }

  // Rows [begin, begin + count) together, on `threads`.
  std::vector<float> run(const ProductKernel& kernel, std::int64_t begin, std::int64_t count, int threads) const {
    std::vector<float> out(static_cast<std::size_t>(count * outputs), NAN);
    ProductInput some = input;
    some.activations += static_cast<std::size_t>(begin) * some.activations_row;
    some.rows = count;
    some.out = reinterpret_cast<std::byte*>(out.data());
    some.out_row = static_cast<std::size_t>(outputs) * sizeof(float);
    EXPECT_TRUE(product_takes(some));
    const std::size_t bytes = (product_scratch_bytes(width, count) + 63) / 64 * 64;
    const std::unique_ptr<std::byte, Free> scratch(static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
    for (int part = 0; part < threads; ++part) kernel.run(some, part, threads, scratch.get());
    return out;
  }

  ggml_type type;
  std::int64_t width, outputs, rows;
  std::vector<std::byte> weights;
  std::vector<float> activations;
  ProductInput input;
};

class Products : public testing::TestWithParam<Format> {
 protected:
  void SetUp() override {
    for (const ProductKernel* const* kernel = product_kernels(); *kernel != nullptr; ++kernel) kernels.push_back(*kernel);
    if (kernels.empty()) GTEST_SKIP() << "this processor has no kernel";
  }
  std::vector<const ProductKernel*> kernels;
};

TEST_P(Products, AreTheSumsOfTheUnpackedWeights) {
  for (const std::int64_t width : {256, 1024, 2816}) {
    const Case all(GetParam(), width, 37, 19);
    std::vector<float> row(static_cast<std::size_t>(width));
    for (const ProductKernel* kernel : kernels) {
      const std::vector<float> out = all.run(*kernel, 0, 19, 2);
      for (std::int64_t n = 0; n < all.outputs; ++n) {
        ggml_get_type_traits(all.type)->to_float(all.weights.data() + static_cast<std::size_t>(n) * all.input.weights_row, row.data(), width);
        for (std::int64_t r = 0; r < all.rows; ++r) {
          double sum = 0, weight_squares = 0, activation_squares = 0;
          for (std::size_t k = 0; k < row.size(); ++k) {
            const double a = static_cast<double>(all.activations[static_cast<std::size_t>(r * width) + k]);
            sum += static_cast<double>(row[k]) * a;
            weight_squares += static_cast<double>(row[k]) * static_cast<double>(row[k]);
            activation_squares += a * a;
          }
          // Rounding to 8 bits moves each activation by 1/254 of the largest of its 256 at most, some 3 to 4 times their mean:
          // as noise that is 0.008 / sqrt(width) of the product of lengths. Five times that; a wrong bit, scale or offset gives far more.
          const double allowed = 5 * 0.008 / std::sqrt(static_cast<double>(width)) * std::sqrt(weight_squares * activation_squares);
          EXPECT_NEAR(static_cast<double>(out[static_cast<std::size_t>(r * all.outputs + n)]), sum, allowed) << kernel->name << ": width " << width << ", output " << n << ", row " << r;
        }
      }
    }
  }
}

TEST_P(Products, OfARowAreTheSameAloneInCompanyAndOnAnyNumberOfThreads) {
  constexpr std::int64_t kRows = 149;  // Two tiles and a part of one; its last group is not full.
  const Case all(GetParam(), 1024, 41, kRows);
  for (const ProductKernel* kernel : kernels) {
    const std::vector<float> together = all.run(*kernel, 0, kRows, 1);
    for (int threads = 2; threads <= 5; ++threads) EXPECT_EQ(all.run(*kernel, 0, kRows, threads), together) << kernel->name;
    for (const std::int64_t count : {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 31, 33, 63, 64, 65, 80, 129}) {
      for (std::int64_t begin = 0; begin + count <= kRows; begin += 13) {
        const std::vector<float> some = all.run(*kernel, begin, count, 2);
        const std::vector<float> same(together.begin() + begin * all.outputs, together.begin() + (begin + count) * all.outputs);
        EXPECT_EQ(some, same) << kernel->name << ": " << count << " rows from " << begin;
      }
    }
  }
}

// Blocks give exact whole sums, which all kernels add in one order.
TEST_P(Products, OfAllKernelsAreTheSame) {
  if (kernels.size() < 2) GTEST_SKIP() << "this processor has one kernel";
  const Case all(GetParam(), 10752, 41, 21);  // Wider than an octet's blocks.
  for (const std::int64_t rows : {1, 4, 5, 21}) {
    const std::vector<float> first = all.run(*kernels.front(), 0, rows, 1);
    for (const ProductKernel* kernel : kernels) EXPECT_EQ(all.run(*kernel, 0, rows, 1), first) << kernel->name << ", " << rows << " rows";
  }
}

// The largest numbers that a sum of two products may have to hold: each weight has all its bits, or all but the first.
TEST_P(Products, OfTheLargestNumbersAreNotCutOff) {
  for (const std::byte all_bits : {std::byte{0xFF}, std::byte{0x80}, std::byte{0x7F}}) {
    Case all(GetParam(), 256, 3, 17);
    std::ranges::fill(all.weights, all_bits);
    const ggml_fp16_t one = ggml_fp32_to_fp16(1);
    const auto set_one = [&](std::size_t at) { std::memcpy(all.weights.data() + at, &one, sizeof(one)); };
    for (std::size_t at = 0; at < all.weights.size(); at += ggml_type_size(all.type)) {
      switch (GetParam().format) {
        case WeightFormat::q6_k: set_one(at + 208), std::memset(all.weights.data() + at + 192, 127, 16); break;
        case WeightFormat::q4_k:
        case WeightFormat::q5_k:
        case WeightFormat::q4_1: set_one(at), set_one(at + 2); break;
        case WeightFormat::q4_0:
        case WeightFormat::q8_0: set_one(at); break;
      }
    }
    std::ranges::fill(all.activations, 1.0f);
    std::vector<float> row(256);
    ggml_get_type_traits(all.type)->to_float(all.weights.data(), row.data(), 256);
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (const ProductKernel* kernel : kernels) {
      for (const std::int64_t rows : {2, 17}) {  // Both ways.
        for (const float x : all.run(*kernel, 0, rows, 1)) EXPECT_NEAR(static_cast<double>(x), sum, std::abs(sum) * 1e-5) << kernel->name << ", " << rows << " rows";
      }
    }
  }
}

TEST_P(Products, OfZerosAreZeros) {
  Case all(GetParam(), 512, 9, 2);
  std::ranges::fill(all.activations, 0.0f);
  for (const ProductKernel* kernel : kernels) {
    for (const float x : all.run(*kernel, 0, 2, 1)) EXPECT_EQ(x, 0) << kernel->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Products, testing::ValuesIn(kFormats), [](const auto& chosen) { return std::string(chosen.param.name); });

TEST(ProductTakes, NoOddWidths) {
  ProductInput input;
  input.width = 512, input.outputs = 1, input.rows = 1, input.weights_row = 2 * 144;
  EXPECT_TRUE(product_takes(input));
  input.rows = 512;
  EXPECT_TRUE(product_takes(input));
  input.rows = 1, input.width = 512 + 32;
  EXPECT_FALSE(product_takes(input));
}

}  // namespace
}  // namespace pensieve
