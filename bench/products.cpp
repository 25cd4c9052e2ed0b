// Our products beside the engine's own, on weights as they lie in the file: billions of
// multiply-adds a second on one thread, interleaved (docs/decisions/0011).
//
//   usage   [PENSIEVE_KERNELS=avx2] pensieve-bench-products [ROUNDS]
#include <fmt/format.h>
#include <ggml-alloc.h>
#include <ggml-backend.h>
#include <ggml.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "engine/products/products.h"

namespace {

using namespace pensieve;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kWidth = 2048;
constexpr std::int64_t kOutputs[] = {1024, 32768};  // Within a core's cache; beyond it, as a vocabulary's.

struct Format {
  const char* name;
  WeightFormat format;
  ggml_type type;
};
constexpr Format kFormats[] = {{"Q4_K", WeightFormat::q4_k, GGML_TYPE_Q4_K}, {"Q5_K", WeightFormat::q5_k, GGML_TYPE_Q5_K}, {"Q6_K", WeightFormat::q6_k, GGML_TYPE_Q6_K},
                              {"Q4_0", WeightFormat::q4_0, GGML_TYPE_Q4_0}, {"Q4_1", WeightFormat::q4_1, GGML_TYPE_Q4_1}, {"Q8_0", WeightFormat::q8_0, GGML_TYPE_Q8_0}};

double seconds_of(auto&& work) {
  const auto begun = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

double median(std::vector<double> list) {
  std::ranges::nth_element(list, list.begin() + std::ssize(list) / 2);
  return list[list.size() / 2];
}

void compare(ggml_backend_t backend, const Format& format, std::int64_t outputs, std::int64_t rows, int rounds) {
  ggml_context* context = ggml_init({ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr, true});
  ggml_tensor* weights = ggml_new_tensor_2d(context, format.type, kWidth, outputs);
  ggml_tensor* activations = ggml_new_tensor_2d(context, GGML_TYPE_F32, kWidth, rows);
  ggml_tensor* product = ggml_mul_mat(context, weights, activations);
  ggml_cgraph* graph = ggml_new_graph(context);
  ggml_build_forward_expand(graph, product);
  ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(context, backend);

  std::mt19937 random(1);
  std::normal_distribution<float> number;
  std::vector<float> row(static_cast<std::size_t>(kWidth * 64));
  for (float& x : row) x = number(random);
  for (std::int64_t n = 0; n < outputs; n += 64) ggml_quantize_chunk(format.type, row.data(), static_cast<std::byte*>(weights->data) + static_cast<std::size_t>(n) * weights->nb[1], 0, 64, kWidth, nullptr);
  for (std::int64_t i = 0; i < kWidth * rows; ++i) static_cast<float*>(activations->data)[i] = number(random);

  std::vector<float> out(static_cast<std::size_t>(outputs * rows));
  ProductInput in;
  in.weights = static_cast<const std::byte*>(weights->data);
  in.weights_row = weights->nb[1];
  in.format = format.format;
  in.activations = static_cast<const std::byte*>(activations->data);
  in.activations_row = activations->nb[1];
  in.out = reinterpret_cast<std::byte*>(out.data());
  in.out_row = static_cast<std::size_t>(outputs) * sizeof(float);
  in.width = kWidth, in.outputs = outputs, in.rows = rows;
  auto* scratch = static_cast<std::byte*>(std::aligned_alloc(64, product_scratch_bytes(kWidth, rows)));

  std::vector<double> engines, ours, ratios;
  for (int round = 0; round < rounds; ++round) {
    engines.push_back(seconds_of([&] { ggml_backend_graph_compute(backend, graph); }));
    ours.push_back(seconds_of([&] { product_kernel()->run(in, 0, 1, scratch); }));
    ratios.push_back(engines.back() / ours.back());
  }
  const double billions = static_cast<double>(kWidth * outputs * rows) / 1e9;
  std::cout << fmt::format("{}  {:5} outputs  {} row{}   engine {:5.1f} (best {:5.1f})   ours {:5.1f} (best {:5.1f})   ratio, median {:.2f}\n", format.name, outputs, rows, rows == 1 ? " " : "s",
                           billions / median(engines), billions / std::ranges::min(engines), billions / median(ours), billions / std::ranges::min(ours), median(ratios))
            << std::flush;
  std::free(scratch);
  ggml_backend_buffer_free(buffer);
  ggml_free(context);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::max(1, std::atoi(argv[1])) : 100;
  if (product_kernel() == nullptr) {
    std::cerr << "there is no kernel for this processor\n";
    return 1;
  }
  ggml_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  if (const std::string plugins = PENSIEVE_ENGINE_PLUGINS; plugins.empty()) ggml_backend_load_all();
  else ggml_backend_load_all_from_path(plugins.c_str());
  ggml_backend_t backend = ggml_backend_init_by_type(GGML_BACKEND_DEVICE_TYPE_CPU, nullptr);
  ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
  const auto set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(ggml_backend_reg_get_proc_address(registry, "ggml_backend_set_n_threads"));
  if (set_threads != nullptr) set_threads(backend, 1);
  std::cout << "kernel " << product_kernel()->name << ", billions of multiply-adds a second, one thread, width " << kWidth << ", " << rounds << " rounds\n";
  for (const std::int64_t outputs : kOutputs) {
    for (const Format& format : kFormats) {
      for (const std::int64_t rows : {1, 4, 8, 64}) compare(backend, format, outputs, rows, outputs > 4096 ? std::max(1, rounds / 5) : rounds);
    }
  }
  ggml_backend_free(backend);
}
