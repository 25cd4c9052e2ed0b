// What a safetensors file says about itself, met by code that believes nothing:
// every length is checked against the file's size before it is used.
//
//   Owns     nothing; values out. The tensors' bytes are never read here.
//   Threads  any: pure functions of the bytes.
//   Errors   not_found, corrupt, too_large, saying where.
//
// Layout: u64 length (little-endian), so many bytes of JSON, then the tensors' bytes:
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, "__metadata__": {...}}
#pragma once

#include <cstdint>
#include <istream>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

enum class TensorType { f32, f16, bf16, u32, other };

struct SafeTensor {
  TensorType type = TensorType::other;
  std::string type_name;
  std::vector<std::uint64_t> shape;
  std::uint64_t begin = 0;  // From the start of the file.
  std::uint64_t bytes = 0;
  std::string file;         // Its path; set by read_checkpoint.
};

using SafeTensors = std::map<std::string, SafeTensor>;

Result<SafeTensors> read_safetensors_header(std::istream& in, std::uint64_t file_bytes);

// All tensors of a folder: of the shards that model.safetensors.index.json names, else of every *.safetensors.
Result<SafeTensors> read_checkpoint(const std::string& folder);

}  // namespace pensieve
