// Writes a GGUF file without the engine: pairs and tensor shapes first, then the
// tensors' bytes in the same order, in pieces of any size.
//
//   Owns     the file while it is written.
//   Threads  one.
//   Errors   internal when the disk refuses; the first one sticks and finish() tells it.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

enum class GgmlType : std::uint32_t { f32 = 0, f16 = 1, q4_1 = 3, q8_0 = 8, bf16 = 30 };

// Bytes of a row of so many elements; 0: they do not fit the type's blocks.
std::uint64_t ggml_row_bytes(GgmlType type, std::uint64_t elements);

class GgufWriter {
 public:
  void set(const std::string& key, std::uint32_t value);
  void set(const std::string& key, float value);
  void set(const std::string& key, bool value);
  void set(const std::string& key, const std::string& value);
  void set(const std::string& key, const char* value) { set(key, std::string(value)); }
  void set(const std::string& key, std::span<const std::string> values);
  void set(const std::string& key, std::span<const float> values);
  void set(const std::string& key, std::span<const std::int32_t> values);

  // `dims` as GGUF orders them: the length of a row first.
  void add_tensor(const std::string& name, GgmlType type, std::span<const std::uint64_t> dims);
  std::uint64_t file_bytes() const;  // What the whole file will have.

  Result<void> begin(const std::string& path);  // Everything is declared.
  void write(std::span<const std::uint8_t> bytes);
  void end_tensor();                            // Pads to the next one.
  Result<void> finish();

 private:
  struct Tensor {
    std::string name;
    GgmlType type;
    std::vector<std::uint64_t> dims;
    std::uint64_t bytes;
  };
  std::string head() const;
  void key(const std::string& name, std::uint32_t type);

  std::string pairs_;
  std::uint64_t pair_count_ = 0;
  std::vector<Tensor> tensors_;
  std::ofstream out_;
  std::string path_;
  std::size_t at_ = 0;           // The tensor being written.
  std::uint64_t written_ = 0;    // Of it.
};

}  // namespace pensieve
