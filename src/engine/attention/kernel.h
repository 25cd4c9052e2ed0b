// The kernels, for any vector type. Each instruction set includes this in a source
// file of its own, which is compiled for it; so nothing here may be visible to others
// (an inline function that the linker shares would carry its instructions elsewhere):
// everything is in an anonymous namespace, and the standard library stays out.
//
// `Simd` has: V, kWidth numbers; kRegisterRows, the row vectors for which four cells keep
// their sums in registers; load, store, set, zero, add, sub, mul, fma (a * b + c), max, round;
// half, from_half, from_bytes (to floats); scale_by_power (x * 2^n), zero_below (0 where x is below
// the bound), zero_if_lowest (0 for -infinity), turn (kWidth vectors: rows become columns).
#pragma once

#include "engine/attention/attention.h"

namespace pensieve {
namespace {

constexpr float kLowest = -__builtin_inff();

float tanh_of(float x) { return __builtin_tanhf(x); }

std::uint16_t half_at(const std::byte* from) {
  std::uint16_t bits = 0;
  __builtin_memcpy(&bits, from, sizeof(bits));
  return bits;
}

template <typename Simd>
struct Attention {
  using V = typename Simd::V;
  static constexpr std::int64_t W = Simd::kWidth;
  static constexpr std::int64_t kVectors = kTileRows / W;  // Of a tile's rows.

  // e^x for x <= 0, by 2^n e^r with |r| <= ln 2 / 2 and the series of e^r to its seventh
  // term; exactly 1 at 0, and 0 below -87.
  static V exp(V x) {
    const V n = Simd::round(Simd::mul(x, Simd::set(1.44269504f)));
    V r = Simd::fma(n, Simd::set(-0.693359375f), x);
    r = Simd::fma(n, Simd::set(2.12194440e-4f), r);
    V p = Simd::set(1.0f / 5040);
    p = Simd::fma(p, r, Simd::set(1.0f / 720));
    p = Simd::fma(p, r, Simd::set(1.0f / 120));
    p = Simd::fma(p, r, Simd::set(1.0f / 24));
    p = Simd::fma(p, r, Simd::set(1.0f / 6));
    p = Simd::fma(p, r, Simd::set(0.5f));
    p = Simd::fma(p, r, Simd::set(1.0f));
    p = Simd::fma(p, r, Simd::set(1.0f));
    return Simd::zero_below(x, -87.0f, Simd::scale_by_power(p, n));
  }

  static V softcapped(V x, float cap) {
    alignas(64) float lanes[W];
    Simd::store(lanes, x);
    for (std::int64_t i = 0; i < W; ++i) lanes[i] = cap * tanh_of(lanes[i] / cap);
    return Simd::load(lanes);
  }

  // kWidth of a cell's numbers as floats, from number `i` on.
  static V numbers(const std::byte* cell, CellFormat format, std::int64_t i) {
    if (format == CellFormat::f16) return Simd::from_half(cell + 2 * i);
    const std::byte* block = cell + i / 32 * 34;
    return Simd::mul(Simd::set(Simd::half(half_at(block))), Simd::from_bytes(block + 2 + i % 32));
  }

  // One cell's numbers as floats.
  static void unpack(const std::byte* from, CellFormat format, std::int64_t width, float* to) {
    if (format == CellFormat::f16) {
      for (std::int64_t i = 0; i < width; i += W) Simd::store(to + i, Simd::from_half(from + 2 * i));
      return;
    }
    for (std::int64_t i = 0; i < width; i += 32, from += 34) {
      const V scale = Simd::set(Simd::half(half_at(from)));
      for (std::int64_t part = 0; part < 32; part += W)
        Simd::store(to + i + part, Simd::mul(scale, Simd::from_bytes(from + 2 + part)));
    }
  }

  static void unpack_tile(const std::byte* from, std::size_t stride, CellFormat format, std::int64_t cells,
                          std::int64_t width, float* to) {
    for (std::int64_t j = 0; j < cells; ++j) {
      if (j + 4 < cells) __builtin_prefetch(from + static_cast<std::size_t>(j + 4) * stride);
      unpack(from + static_cast<std::size_t>(j) * stride, format, width, to + j * width);
    }
  }

  enum class Seen { none, all, some };

  // Which cells of a tile these rows see.
  static Seen look_at(const std::byte* mask, std::size_t stride, std::int64_t rows, std::int64_t cells) {
    std::uint64_t any = 0;
    bool hidden = true;
    for (std::int64_t r = 0; r < rows; ++r, mask += stride) {
      std::int64_t j = 0;
      for (; j + 4 <= cells; j += 4) {
        std::uint64_t word = 0;
        __builtin_memcpy(&word, mask + 2 * j, sizeof(word));
        any |= word;
        hidden &= word == 0xFC00FC00FC00FC00u;
      }
      for (; j < cells; ++j) {
        const std::uint16_t bits = half_at(mask + 2 * j);
        any |= bits;
        hidden &= bits == 0xFC00u;
      }
    }
    return hidden ? Seen::none : any == 0 ? Seen::all : Seen::some;
  }

  // ---- many rows: the lanes of a vector are rows ----

  // `acc[b][v]` += sum over i of a[i][v] * b_b[i], for `Count` b's of stride `b_run`; i from 0 to count, one after another.
  template <int Vectors, int Count>
  static void multiply(const float* a, std::int64_t a_run, const float* b, std::int64_t b_cell, std::int64_t b_run,
                       std::int64_t count, V (&acc)[Count][Vectors]) {
    for (std::int64_t i = 0; i < count; ++i) {
      V row[Vectors];
      for (int v = 0; v < Vectors; ++v) row[v] = Simd::load(a + i * a_run + v * W);
      for (int c = 0; c < Count; ++c) {
        const V one = Simd::set(b[c * b_cell + i * b_run]);
        for (int v = 0; v < Vectors; ++v) acc[c][v] = Simd::fma(row[v], one, acc[c][v]);
      }
    }
  }

  // scores[cell][row] = keys[cell] . queries[.][row], for four cells.
  template <int Rows>
  static void score(const float* queries, const float* keys, std::int64_t width, float* scores) {
    V acc[4][Rows];
    for (auto& cell : acc)
      for (V& v : cell) v = Simd::zero();
    multiply<Rows, 4>(queries, kTileRows, keys, width, 1, width, acc);
    for (int c = 0; c < 4; ++c)
      for (int v = 0; v < Rows; ++v) Simd::store(scores + c * kTileRows + v * W, acc[c][v]);
  }

  // sums[number][row] = sums * decay[row] + values[.][number] . weights[.][row], for four numbers of the values.
  template <int Rows>
  static void weigh(const float* weights, const float* values, std::int64_t width, std::int64_t cells,
                    const float* decay, float* sums) {
    V acc[4][Rows];
    for (int c = 0; c < 4; ++c)
      for (int v = 0; v < Rows; ++v)
        acc[c][v] = Simd::mul(Simd::load(sums + c * kTileRows + v * W), Simd::load(decay + v * W));
    multiply<Rows, 4>(weights, kTileRows, values, 1, width, cells, acc);
    for (int c = 0; c < 4; ++c)
      for (int v = 0; v < Rows; ++v) Simd::store(sums + c * kTileRows + v * W, acc[c][v]);
  }

  // Calls f<n>(first vector) over `vectors` vectors of rows, n of them at a time.
  template <typename F>
  static void by_registers(std::int64_t vectors, const F& f) {
    constexpr int kMost = Simd::kRegisterRows;
    std::int64_t v = 0;
    for (; v + kMost <= vectors; v += kMost) f.template operator()<kMost>(v);
    if constexpr (kMost == 4) {
      if (v + 2 <= vectors) f.template operator()<2>(v), v += 2;
    }
    if (v < vectors) f.template operator()<1>(v);
  }

  static void many_rows(const AttentionInput& in, std::int64_t stream, std::int64_t head, std::int64_t first,
                        float* scratch) {
    const std::int64_t rows = in.rows - first < kTileRows ? in.rows - first : kTileRows;
    const std::int64_t vectors = (rows + W - 1) / W;
    const std::int64_t kv_head = head / (in.heads / in.kv_heads);
    const std::int64_t kw = in.key_width, vw = in.value_width;
    float* queries = scratch;                // [key_width][rows], scaled
    float* keys = queries + kw * kTileRows;  // [cell][key_width]
    float* values = keys + kw * kTileCells;  // [cell][value_width]
    float* sums = values + vw * kTileCells;  // [value_width][rows]
    float* scores = sums + vw * kTileRows;   // [cell][rows], then weights
    float* masks = scores + kTileCells * kTileRows;
    float* best = masks + kTileCells * kTileRows;  // [rows] each
    float* total = best + kTileRows;
    float* decay = total + kTileRows;

    const auto at = [](const std::byte* base, std::size_t a, std::int64_t i, std::size_t b, std::int64_t j) {
      return base + a * static_cast<std::size_t>(i) + b * static_cast<std::size_t>(j);
    };
    for (std::int64_t r = 0; r < vectors * W; ++r) {
      if (r < rows) {
        const auto* q = reinterpret_cast<const float*>(at(in.q, in.q_stream, stream, in.q_head, head) +
                                                       in.q_row * static_cast<std::size_t>(first + r));
        for (std::int64_t d = 0; d < kw; ++d) queries[d * kTileRows + r] = q[d] * in.scale;
      } else {
        for (std::int64_t d = 0; d < kw; ++d) queries[d * kTileRows + r] = 0;
      }
      best[r] = kLowest;
      total[r] = 0;
    }
    for (std::int64_t i = 0; i < vw * kTileRows; i += W) Simd::store(sums + i, Simd::zero());

    for (std::int64_t begin = 0; begin < in.cells; begin += kTileCells) {
      const std::int64_t cells = in.cells - begin < kTileCells ? in.cells - begin : kTileCells;
      const std::byte* mask =
          in.mask == nullptr ? nullptr : at(in.mask, in.mask_stream, stream, in.mask_row, first) + 2 * begin;
      const Seen seen = mask == nullptr ? Seen::all : look_at(mask, in.mask_row, rows, cells);
      if (seen == Seen::none) continue;
      const std::int64_t padded = (cells + 3) / 4 * 4;
      unpack_tile(at(in.k, in.k_stream, stream, in.k_head, kv_head) + in.k_cell * static_cast<std::size_t>(begin),
                  in.k_cell, in.k_format, cells, kw, keys);
      unpack_tile(at(in.v, in.v_stream, stream, in.v_head, kv_head) + in.v_cell * static_cast<std::size_t>(begin),
                  in.v_cell, in.v_format, cells, vw, values);
      for (std::int64_t j = cells * kw; j < padded * kw; ++j) keys[j] = 0;
      for (std::int64_t j = 0; j < padded; j += 4) {
        by_registers(vectors, [&]<int N>(std::int64_t v) {
          score<N>(queries + v * W, keys + j * kw, kw, scores + j * kTileRows + v * W);
        });
      }
      if (in.softcap != 0) {
        for (std::int64_t j = 0; j < cells; ++j)
          for (std::int64_t v = 0; v < vectors; ++v)
            Simd::store(scores + j * kTileRows + v * W,
                        softcapped(Simd::load(scores + j * kTileRows + v * W), in.softcap));
      }
      if (seen == Seen::some) {
        for (std::int64_t r = 0; r < rows; ++r)
          for (std::int64_t j = 0; j < cells; ++j)
            masks[j * kTileRows + r] = Simd::half(half_at(mask + in.mask_row * static_cast<std::size_t>(r) + 2 * j));
        for (std::int64_t j = 0; j < cells; ++j) {
          for (std::int64_t r = rows; r < vectors * W; ++r) masks[j * kTileRows + r] = 0;
          for (std::int64_t v = 0; v < vectors; ++v) {
            const std::int64_t i = j * kTileRows + v * W;
            Simd::store(scores + i, Simd::add(Simd::load(scores + i), Simd::load(masks + i)));
          }
        }
      }
      for (std::int64_t v = 0; v < vectors; ++v) {
        const V old = Simd::load(best + v * W);
        V top = old;
        for (std::int64_t j = 0; j < cells; ++j) top = Simd::max(top, Simd::load(scores + j * kTileRows + v * W));
        Simd::store(best + v * W, top);
        const V base = Simd::zero_if_lowest(top);  // A row that has seen nothing yet.
        const V fade = exp(Simd::sub(old, base));
        V added = Simd::zero();
        for (std::int64_t lane = 0; lane < W; ++lane) {  // In the order of few_rows().
          V sum = Simd::zero();
          for (std::int64_t j = lane; j < cells; j += W) {
            const V weight = exp(Simd::sub(Simd::load(scores + j * kTileRows + v * W), base));
            sum = Simd::add(sum, weight);
            Simd::store(scores + j * kTileRows + v * W, weight);
          }
          added = Simd::add(added, sum);
        }
        Simd::store(total + v * W, Simd::add(Simd::mul(Simd::load(total + v * W), fade), added));
        Simd::store(decay + v * W, fade);
      }
      for (std::int64_t d = 0; d < vw; d += 4) {
        by_registers(vectors, [&]<int N>(std::int64_t v) {
          weigh<N>(scores + v * W, values + d, vw, cells, decay + v * W, sums + d * kTileRows + v * W);
        });
      }
    }

    for (std::int64_t r = 0; r < rows; ++r) {
      float share = finish(in, head, best[r], total[r]);
      auto* to = reinterpret_cast<float*>(in.out + in.out_stream * static_cast<std::size_t>(stream) +
                                          in.out_row * static_cast<std::size_t>(first + r) +
                                          in.out_head * static_cast<std::size_t>(head));
      for (std::int64_t d = 0; d < vw; ++d) to[d] = sums[d * kTileRows + r] * share;
    }
  }

  // What the sums are multiplied with in the end.
  static float finish(const AttentionInput& in, std::int64_t head, float best, float total) {
    float fade = 1;
    if (in.sinks != nullptr) {
      const float sink = in.sinks[head];
      const float top = sink > best ? sink : best;
      alignas(64) float lanes[W] = {best - top, sink - top};
      Simd::store(lanes, exp(Simd::load(lanes)));
      fade = lanes[0];
      total = total * fade + lanes[1];
    }
    return total > 0 ? fade / total : 0;
  }

  // ---- few rows: the lanes of a vector are cells, then numbers of a cell; every sum in the order of many_rows() ----

  // turned[number][cell] = cells' numbers, kWidth by kWidth; cells from `cells` up to the next multiple of kWidth: 0.
  static void unpack_turned(const std::byte* from, std::size_t stride, CellFormat format, std::int64_t cells,
                            std::int64_t width, float* turned) {
    for (std::int64_t j = 0; j < cells; j += W) {
      for (std::int64_t i = 0; i < width; i += W) {
        V block[W];
        for (std::int64_t c = 0; c < W; ++c)
          block[c] = j + c < cells ? numbers(from + static_cast<std::size_t>(j + c) * stride, format, i) : Simd::zero();
        Simd::turn(block);
        for (std::int64_t c = 0; c < W; ++c) Simd::store(turned + (i + c) * kTileCells + j, block[c]);
      }
    }
  }

  // scores[query][cell] of `cells` cells for N queries of the same kv head; each sum in the order of the numbers, as in score().
  template <int N>
  static void score_few(const float* queries, const float* turned, std::int64_t width, std::int64_t cells,
                        float* scores) {
    by_registers((cells + W - 1) / W, [&]<int Vectors>(std::int64_t v) {
      V acc[N][Vectors];
      for (auto& query : acc)
        for (V& sum : query) sum = Simd::zero();
      multiply<Vectors, N>(turned + v * W, kTileCells, queries, width, 1, width, acc);
      for (int n = 0; n < N; ++n)
        for (int i = 0; i < Vectors; ++i) Simd::store(scores + n * kTileCells + (v + i) * W, acc[n][i]);
    });
  }

  // sums[query] = sums * decay + weights . values, for `Block` vectors of numbers.
  template <int N, int Block>
  static void weigh_few(const float* weights, const float* values, std::int64_t width, std::int64_t cells,
                        const float* decay, float* sums, std::int64_t sums_run) {
    V acc[N][Block];
    for (int n = 0; n < N; ++n)
      for (int b = 0; b < Block; ++b)
        acc[n][b] = Simd::mul(Simd::load(sums + n * sums_run + b * W), Simd::set(decay[n]));
    for (std::int64_t j = 0; j < cells; ++j) {
      V value[Block];
      for (int b = 0; b < Block; ++b) value[b] = Simd::load(values + j * width + b * W);
      for (int n = 0; n < N; ++n) {
        const V weight = Simd::set(weights[n * kTileCells + j]);
        for (int b = 0; b < Block; ++b) acc[n][b] = Simd::fma(value[b], weight, acc[n][b]);
      }
    }
    for (int n = 0; n < N; ++n)
      for (int b = 0; b < Block; ++b) Simd::store(sums + n * sums_run + b * W, acc[n][b]);
  }

  // N queries (rows and heads) of one stream and kv head. The mask of each is a row.
  template <int N>
  static void few_rows(const AttentionInput& in, std::int64_t stream, std::int64_t kv_head, const std::int64_t* heads,
                       const std::int64_t* rows, float* scratch) {
    const std::int64_t kw = in.key_width, vw = in.value_width;
    float* queries = scratch;                // [query][key_width], scaled
    float* keys = queries + N * kw;          // [key_width][cell]
    float* values = keys + kTileCells * kw;  // [cell][value_width]
    float* sums = values + kTileCells * vw;  // [query][value_width]
    float* scores = sums + N * vw;           // [query][cell]
    float best[N], total[N], decay[N];
    const std::byte* mask[N];
    for (int n = 0; n < N; ++n) {
      const auto* q = reinterpret_cast<const float*>(in.q + in.q_stream * static_cast<std::size_t>(stream) +
                                                     in.q_head * static_cast<std::size_t>(heads[n]) +
                                                     in.q_row * static_cast<std::size_t>(rows[n]));
      for (std::int64_t d = 0; d < kw; ++d) queries[n * kw + d] = q[d] * in.scale;
      for (std::int64_t d = 0; d < vw; ++d) sums[n * vw + d] = 0;
      mask[n] = in.mask == nullptr ? nullptr
                                   : in.mask + in.mask_stream * static_cast<std::size_t>(stream) +
                                         in.mask_row * static_cast<std::size_t>(rows[n]);
      best[n] = kLowest;
      total[n] = 0;
    }
    const std::byte* k =
        in.k + in.k_stream * static_cast<std::size_t>(stream) + in.k_head * static_cast<std::size_t>(kv_head);
    const std::byte* v =
        in.v + in.v_stream * static_cast<std::size_t>(stream) + in.v_head * static_cast<std::size_t>(kv_head);
    for (std::int64_t begin = 0; begin < in.cells; begin += kTileCells) {
      const std::int64_t cells = in.cells - begin < kTileCells ? in.cells - begin : kTileCells;
      bool seen = in.mask == nullptr;
      for (int n = 0; n < N && !seen; ++n) seen = look_at(mask[n] + 2 * begin, 0, 1, cells) != Seen::none;
      if (!seen) continue;
      if (begin + kTileCells < in.cells) fetch_ahead(k, v, begin + kTileCells, in);
      const std::int64_t padded = (cells + W - 1) / W * W;
      unpack_turned(k + in.k_cell * static_cast<std::size_t>(begin), in.k_cell, in.k_format, cells, kw, keys);
      unpack_tile(v + in.v_cell * static_cast<std::size_t>(begin), in.v_cell, in.v_format, cells, vw, values);
      score_few<N>(queries, keys, kw, cells, scores);
      for (int n = 0; n < N; ++n) {
        float* mine = scores + n * kTileCells;
        if (in.softcap != 0) {
          for (std::int64_t j = 0; j < padded; j += W)
            Simd::store(mine + j, softcapped(Simd::load(mine + j), in.softcap));
        }
        if (mask[n] != nullptr) {
          for (std::int64_t j = 0; j < cells; ++j) mine[j] += Simd::half(half_at(mask[n] + 2 * (begin + j)));
        }
        for (std::int64_t j = cells; j < padded; ++j) mine[j] = kLowest;
        V top = Simd::set(best[n]);
        for (std::int64_t j = 0; j < padded; j += W) top = Simd::max(top, Simd::load(mine + j));
        alignas(64) float lanes[W];
        Simd::store(lanes, top);
        float highest = lanes[0];
        for (std::int64_t i = 1; i < W; ++i) highest = lanes[i] > highest ? lanes[i] : highest;
        const float base = highest == kLowest ? 0 : highest;
        lanes[0] = best[n] - base;
        Simd::store(lanes, exp(Simd::load(lanes)));
        decay[n] = lanes[0];
        best[n] = highest;
        V sum = Simd::zero();
        for (std::int64_t j = 0; j < padded; j += W) {
          const V weight = exp(Simd::sub(Simd::load(mine + j), Simd::set(base)));
          sum = Simd::add(sum, weight);
          Simd::store(mine + j, weight);
        }
        Simd::store(lanes, sum);
        float added = 0;
        for (std::int64_t i = 0; i < W; ++i) added += lanes[i];
        total[n] = total[n] * decay[n] + added;
      }
      std::int64_t d = 0;
      constexpr int kBlock = N == 1 ? 6 : N == 2 ? 4 : 2;
      for (; d + kBlock * W <= vw; d += kBlock * W)
        weigh_few<N, kBlock>(scores, values + d, vw, cells, decay, sums + d, vw);
      for (; d < vw; d += W) weigh_few<N, 1>(scores, values + d, vw, cells, decay, sums + d, vw);
    }
    for (int n = 0; n < N; ++n) {
      const float share = finish(in, heads[n], best[n], total[n]);
      auto* to = reinterpret_cast<float*>(in.out + in.out_stream * static_cast<std::size_t>(stream) +
                                          in.out_row * static_cast<std::size_t>(rows[n]) +
                                          in.out_head * static_cast<std::size_t>(heads[n]));
      for (std::int64_t i = 0; i < vw; ++i) to[i] = sums[n * vw + i] * share;
    }
  }

  // A head's numbers are a small part of a cell's row: too far apart for the processor to see the pattern.
  static void fetch_ahead(const std::byte* k, const std::byte* v, std::int64_t begin, const AttentionInput& in) {
    const std::int64_t end = begin + kTileCells < in.cells ? begin + kTileCells : in.cells;
    const std::int64_t k_bytes = in.k_format == CellFormat::f16 ? in.key_width * 2 : in.key_width / 32 * 34;
    const std::int64_t v_bytes = in.v_format == CellFormat::f16 ? in.value_width * 2 : in.value_width / 32 * 34;
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t i = 0; i < k_bytes; i += 64)
        __builtin_prefetch(k + in.k_cell * static_cast<std::size_t>(j) + i, 0, 2);
      for (std::int64_t i = 0; i < v_bytes; i += 64)
        __builtin_prefetch(v + in.v_cell * static_cast<std::size_t>(j) + i, 0, 2);
    }
  }

  static void run(const AttentionInput& in, int part, int parts, float* scratch) {
    if (in.rows >= kManyRows) {
      const std::int64_t tiles = (in.rows + kTileRows - 1) / kTileRows;
      for (std::int64_t item = part; item < in.streams * in.heads * tiles; item += parts) {
        const std::int64_t tile = item % tiles, head = item / tiles % in.heads, stream = item / tiles / in.heads;
        many_rows(in, stream, head, tile * kTileRows, scratch);
      }
      return;
    }
    // Queries that share a kv head, up to four together.
    const std::int64_t group = in.heads / in.kv_heads;
    const std::int64_t queries = group * in.rows;
    std::int64_t item = 0;
    for (std::int64_t stream = 0; stream < in.streams; ++stream) {
      for (std::int64_t kv_head = 0; kv_head < in.kv_heads; ++kv_head) {
        for (std::int64_t query = 0; query < queries;) {
          const std::int64_t left = queries - query;
          const std::int64_t count = left >= 4 ? 4 : left >= 2 ? 2 : 1;
          if (item++ % parts == part) {
            std::int64_t heads[4] = {}, rows[4] = {};
            for (std::int64_t n = 0; n < count; ++n) {
              heads[n] = kv_head * group + (query + n) % group;
              rows[n] = (query + n) / group;
            }
            if (count == 4)
              few_rows<4>(in, stream, kv_head, heads, rows, scratch);
            else if (count == 2)
              few_rows<2>(in, stream, kv_head, heads, rows, scratch);
            else
              few_rows<1>(in, stream, kv_head, heads, rows, scratch);
          }
          query += count;
        }
      }
    }
  }
};

}  // namespace
}  // namespace pensieve
