#include "catalogue/gguf_writer.h"

#include <fmt/format.h>

#include "base/check.h"

namespace pensieve {
namespace {

constexpr std::uint64_t kAlignment = 32;

enum PairType : std::uint32_t { kUint32 = 4, kInt32 = 5, kFloat32 = 6, kBool = 7, kString = 8, kArray = 9 };

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_text(std::string& bytes, const std::string& text) {
  put<std::uint64_t>(bytes, text.size());
  bytes += text;
}

std::uint64_t padded(std::uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

std::uint64_t ggml_row_bytes(GgmlType type, std::uint64_t elements) {
  switch (type) {
    case GgmlType::f32: return elements * 4;
    case GgmlType::f16:
    case GgmlType::bf16: return elements * 2;
    case GgmlType::q4_1: return elements % 32 == 0 ? elements / 32 * 20 : 0;
    case GgmlType::q8_0: return elements % 32 == 0 ? elements / 32 * 34 : 0;
  }
  return 0;
}

void GgufWriter::key(const std::string& name, std::uint32_t type) {
  put_text(pairs_, name);
  put(pairs_, type);
  ++pair_count_;
}

void GgufWriter::set(const std::string& name, std::uint32_t value) { key(name, kUint32), put(pairs_, value); }
void GgufWriter::set(const std::string& name, float value) { key(name, kFloat32), put(pairs_, value); }
void GgufWriter::set(const std::string& name, bool value) { key(name, kBool), put<std::uint8_t>(pairs_, value ? 1 : 0); }
void GgufWriter::set(const std::string& name, const std::string& value) { key(name, kString), put_text(pairs_, value); }

void GgufWriter::set(const std::string& name, std::span<const std::string> values) {
  key(name, kArray);
  put<std::uint32_t>(pairs_, kString);
  put<std::uint64_t>(pairs_, values.size());
  for (const std::string& value : values) put_text(pairs_, value);
}

void GgufWriter::set(const std::string& name, std::span<const float> values) {
  key(name, kArray);
  put<std::uint32_t>(pairs_, kFloat32);
  put<std::uint64_t>(pairs_, values.size());
  for (const float value : values) put(pairs_, value);
}

void GgufWriter::set(const std::string& name, std::span<const std::int32_t> values) {
  key(name, kArray);
  put<std::uint32_t>(pairs_, kInt32);
  put<std::uint64_t>(pairs_, values.size());
  for (const std::int32_t value : values) put(pairs_, value);
}

void GgufWriter::add_tensor(const std::string& name, GgmlType type, std::span<const std::uint64_t> dims) {
  CHECK(!dims.empty() && ggml_row_bytes(type, dims[0]) > 0, "a tensor's rows fit its type");
  std::uint64_t bytes = ggml_row_bytes(type, dims[0]);
  for (std::size_t i = 1; i < dims.size(); ++i) bytes *= dims[i];
  tensors_.push_back({name, type, {dims.begin(), dims.end()}, bytes});
}

std::string GgufWriter::head() const {
  std::string bytes = "GGUF";
  put<std::uint32_t>(bytes, 3);
  put<std::uint64_t>(bytes, tensors_.size());
  put<std::uint64_t>(bytes, pair_count_);
  bytes += pairs_;
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_text(bytes, tensor.name);
    put<std::uint32_t>(bytes, static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t size : tensor.dims) put(bytes, size);
    put<std::uint32_t>(bytes, static_cast<std::uint32_t>(tensor.type));
    put(bytes, offset);
    offset += padded(tensor.bytes);
  }
  bytes.resize(padded(bytes.size()), '\0');
  return bytes;
}

std::uint64_t GgufWriter::file_bytes() const {
  std::uint64_t sum = head().size();
  for (const Tensor& tensor : tensors_) sum += padded(tensor.bytes);
  return sum;
}

Result<void> GgufWriter::begin(const std::string& path) {
  path_ = path;
  out_.open(path, std::ios::binary | std::ios::trunc);
  const std::string bytes = head();
  out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out_) return Error{ErrorCode::internal, fmt::format("'{}' cannot be written", path_)};
  return {};
}

void GgufWriter::write(std::span<const std::uint8_t> bytes) {
  out_.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  written_ += bytes.size();
}

void GgufWriter::end_tensor() {
  CHECK(at_ < tensors_.size() && written_ == tensors_[at_].bytes, "a tensor gets the bytes it was declared with");
  const std::string padding(padded(written_) - written_, '\0');
  out_.write(padding.data(), static_cast<std::streamsize>(padding.size()));
  ++at_;
  written_ = 0;
}

Result<void> GgufWriter::finish() {
  CHECK(at_ == tensors_.size(), "every tensor that was declared is written");
  out_.close();
  if (!out_) return Error{ErrorCode::internal, fmt::format("'{}' could not be written whole (disk full?)", path_)};
  return {};
}

}  // namespace pensieve
