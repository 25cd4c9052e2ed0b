// What a GGUF file says about itself: version, key/value pairs, tensors. Read
// without the engine, so that a broken or hostile file is met by code that
// checks every count and length against the file's size before it believes them.
//
//   Owns     nothing; values out. The weights are never read.
//   Threads  any: pure functions of the bytes.
//   Errors   not_found, permission_denied for the file; corrupt for its content,
//            saying where and what was expected.
//
// Layout (all numbers little-endian; a string is u64 length, then bytes):
//
//   "GGUF" u32 version  u64 tensors  u64 pairs
//   pairs   x { string key, u32 type, value }       array: u32 type, u64 count, values
//   tensors x { string name, u32 dims, dims x u64, u32 type, u64 offset }
//   padding to `general.alignment`, then the tensors' bytes
#pragma once

#include <cstdint>
#include <istream>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct GgufArray {
  std::uint32_t type = 0;              // As numbered in the format.
  std::uint64_t count = 0;
  std::vector<std::int64_t> integers;  // Of integer arrays of at most kGgufIntegersKept elements, else empty.
};

// Every integer fits: unsigned ones above INT64_MAX are refused as corrupt.
using GgufValue = std::variant<std::int64_t, double, bool, std::string, GgufArray>;

inline constexpr std::uint64_t kGgufIntegersKept = 4096;  // One number a layer; vocabularies are skipped.

struct GgufTensor {
  std::string name;
  std::vector<std::uint64_t> dims;  // 1 to 4.
  std::uint32_t type = 0;
  std::uint64_t elements = 0;
  std::uint64_t bytes = 0;   // 0: a type that this release does not know.
  std::uint64_t offset = 0;  // From the start of the data.
};

struct GgufHeader {
  std::uint32_t version = 0;
  std::map<std::string, GgufValue> pairs;
  std::vector<GgufTensor> tensors;
  std::uint64_t data_offset = 0;  // Where the tensors' bytes begin.
  std::uint64_t file_bytes = 0;
  std::uint64_t parameters = 0;   // Sum of the tensors' elements.

  // nullptr: absent, or of another kind.
  template <typename T>
  const T* find(const std::string& key) const {
    const auto pair = pairs.find(key);
    return pair == pairs.end() ? nullptr : std::get_if<T>(&pair->second);
  }
};

Result<GgufHeader> read_gguf_header(const std::string& path);
// `file_bytes`: how many bytes `in` has, from its beginning.
Result<GgufHeader> read_gguf_header(std::istream& in, std::uint64_t file_bytes);

}  // namespace pensieve
