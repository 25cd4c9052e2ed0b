#include "catalogue/gguf_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "base/errno_text.h"
#include "base/utf8.h"

namespace pensieve {
namespace {

// Real headers have some hundred pairs and tensors and, with their vocabulary,
// some ten MB. Far above is a file that wants our memory.
constexpr std::uint64_t kPairsMax = 1u << 16;
constexpr std::uint64_t kTensorsMax = 1u << 20;
constexpr std::uint64_t kNameBytesMax = (1u << 16) - 1;
constexpr std::uint64_t kTextBytesMax = 16u << 20;
constexpr std::uint64_t kTextBytesTotalMax = 64u << 20;
constexpr std::uint64_t kAlignmentMax = 1u << 20;
constexpr std::uint32_t kDimsMax = 4;

enum Type : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64, kTypes };

// Bytes of one value; 0 where it differs from value to value.
constexpr std::uint64_t kWidth[kTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

struct Packing {  // Of a tensor type: so many elements lie in so many bytes.
  std::uint32_t type;
  std::uint64_t elements;
  std::uint64_t bytes;
};
constexpr Packing kPackings[] = {
    {0, 1, 4},      {1, 1, 2},      {2, 32, 18},    {3, 32, 20},    {6, 32, 22},    {7, 32, 24},   {8, 32, 34},    {9, 32, 36},
    {10, 256, 84},  {11, 256, 110}, {12, 256, 144}, {13, 256, 176}, {14, 256, 210}, {15, 256, 292}, {16, 256, 66}, {17, 256, 74},
    {18, 256, 98},  {19, 256, 50},  {20, 32, 18},   {21, 256, 110}, {22, 256, 82},  {23, 256, 136}, {24, 1, 1},    {25, 1, 2},
    {26, 1, 4},     {27, 1, 8},     {28, 1, 8},     {29, 256, 56},  {30, 1, 2},     {34, 256, 54},  {35, 256, 66}, {39, 32, 17},
};

Error corrupt(std::string message) { return {ErrorCode::corrupt, "not a usable GGUF file: " + std::move(message)}; }

// Names come from the file: printable, and short, in a message.
std::string shown(const std::string& name) {
  std::string text = utf8_sanitise(name.size() <= 60 ? name : name.substr(0, 60) + "...");
  std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return text;
}

// Reads forward; never past the end it was told. The first failure sticks, and
// everything read after it is zero.
class Cursor {
 public:
  Cursor(std::istream& in, std::uint64_t bytes) : in_(in), bytes_(bytes) {}

  bool failed() const { return error_.has_value(); }
  const Error& error() const { return *error_; }
  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return bytes_ - at_; }

  void fail(std::string message) {
    if (!error_) error_ = corrupt(std::move(message));
  }

  void read(void* into, std::uint64_t count, const char* what) {
    if (failed()) return;
    if (count > left()) return fail(fmt::format("it ends at byte {}, inside {}", bytes_, what));
    in_.read(static_cast<char*>(into), static_cast<std::streamsize>(count));
    if (!in_) return fail(fmt::format("reading {} at byte {} failed", what, at_));
    at_ += count;
  }

  template <typename T>
  T number(const char* what) {
    static_assert(std::endian::native == std::endian::little, "GGUF is little-endian");
    T value{};
    read(&value, sizeof value, what);
    return failed() ? T{} : value;
  }

  std::string text(std::uint64_t bytes_max, const char* what) {
    const auto length = number<std::uint64_t>(what);
    if (failed()) return {};
    if (length > left()) fail(fmt::format("{} at byte {} claims {} bytes; {} are left", what, at_, length, left()));
    else if (length > bytes_max) fail(fmt::format("{} at byte {} has {} bytes; at most {} are sensible", what, at_, length, bytes_max));
    if (failed()) return {};
    text_bytes_ += length;
    if (text_bytes_ > kTextBytesTotalMax) {
      fail("its texts are longer than any model's");
      return {};
    }
    std::string value(length, '\0');
    read(value.data(), length, what);
    return value;
  }

  void skip(std::uint64_t count, const char* what) {
    if (failed()) return;
    if (count > left()) return fail(fmt::format("it ends at byte {}, inside {}", bytes_, what));
    in_.seekg(static_cast<std::streamoff>(count), std::ios::cur);
    at_ += count;
  }

  void skip_text(const char* what) { skip(number<std::uint64_t>(what), what); }

 private:
  std::istream& in_;
  const std::uint64_t bytes_;
  std::uint64_t at_ = 0;
  std::uint64_t text_bytes_ = 0;
  std::optional<Error> error_;
};

bool is_integer(std::uint32_t type) { return type <= i32 || type == u64 || type == i64; }

std::int64_t read_integer(Cursor& cursor, std::uint32_t type) {
  constexpr const char* kWhat = "a number";
  switch (type) {
    case u8: return cursor.number<std::uint8_t>(kWhat);
    case i8: return cursor.number<std::int8_t>(kWhat);
    case u16: return cursor.number<std::uint16_t>(kWhat);
    case i16: return cursor.number<std::int16_t>(kWhat);
    case u32: return cursor.number<std::uint32_t>(kWhat);
    case i32: return cursor.number<std::int32_t>(kWhat);
    case i64: return cursor.number<std::int64_t>(kWhat);
    default: break;
  }
  const auto value = cursor.number<std::uint64_t>(kWhat);
  if (value > INT64_MAX) cursor.fail(fmt::format("the number {} before byte {} is absurd", value, cursor.at()));
  return cursor.failed() ? 0 : static_cast<std::int64_t>(value);
}

GgufArray read_array(Cursor& cursor, const std::string& key) {
  GgufArray array_read;
  array_read.type = cursor.number<std::uint32_t>("an array's type");
  array_read.count = cursor.number<std::uint64_t>("an array's length");
  if (cursor.failed()) return array_read;
  if (array_read.type >= kTypes || array_read.type == array) {
    cursor.fail(fmt::format("the array '{}' has elements of type {}, which the format does not allow", shown(key), array_read.type));
    return array_read;
  }
  const std::uint64_t width = array_read.type == string ? 8 : kWidth[array_read.type];  // A string has at least its length.
  if (array_read.count > cursor.left() / width) {
    cursor.fail(fmt::format("the array '{}' claims {} elements; {} bytes are left", shown(key), array_read.count, cursor.left()));
    return array_read;
  }
  if (array_read.type == string) {
    for (std::uint64_t i = 0; i < array_read.count && !cursor.failed(); ++i) cursor.skip_text("an array of texts");
  } else if (is_integer(array_read.type) && array_read.count <= kGgufIntegersKept) {
    array_read.integers.reserve(array_read.count);
    for (std::uint64_t i = 0; i < array_read.count && !cursor.failed(); ++i) array_read.integers.push_back(read_integer(cursor, array_read.type));
  } else {
    cursor.skip(array_read.count * width, "an array");
  }
  return array_read;
}

GgufValue read_value(Cursor& cursor, const std::string& key, std::uint32_t type) {
  if (is_integer(type)) return read_integer(cursor, type);
  switch (type) {
    case f32: return static_cast<double>(cursor.number<float>("a number"));
    case f64: return cursor.number<double>("a number");
    case boolean: return cursor.number<std::uint8_t>("a truth value") != 0;
    case string: return cursor.text(kTextBytesMax, "a text");
    case array: return read_array(cursor, key);
    default: break;
  }
  cursor.fail(fmt::format("the value of '{}' has the unknown type {}", shown(key), type));
  return std::int64_t{0};
}

void read_pairs(Cursor& cursor, std::uint64_t count, GgufHeader& header) {
  for (std::uint64_t i = 0; i < count && !cursor.failed(); ++i) {
    std::string key = cursor.text(kNameBytesMax, "a key");
    const auto type = cursor.number<std::uint32_t>("a value's type");
    if (cursor.failed()) return;
    GgufValue value = read_value(cursor, key, type);
    if (cursor.failed()) return;
    const auto [place, is_new] = header.pairs.emplace(std::move(key), std::move(value));
    if (!is_new) cursor.fail(fmt::format("the key '{}' is there twice", shown(place->first)));
  }
}

GgufTensor read_tensor(Cursor& cursor) {
  GgufTensor tensor;
  tensor.name = cursor.text(kNameBytesMax, "a tensor's name");
  const auto dims = cursor.number<std::uint32_t>("a tensor's shape");
  if (cursor.failed()) return tensor;
  if (dims == 0 || dims > kDimsMax) {
    cursor.fail(fmt::format("the tensor '{}' has {} dimensions", shown(tensor.name), dims));
    return tensor;
  }
  tensor.elements = 1;
  for (std::uint32_t i = 0; i < dims && !cursor.failed(); ++i) {
    const auto size = cursor.number<std::uint64_t>("a tensor's shape");
    if (cursor.failed()) break;
    // 2^48 elements are 2^45 bytes at one bit each: beyond every file, and products stay below 2^64.
    if (size == 0 || size > (std::uint64_t{1} << 48) / tensor.elements) cursor.fail(fmt::format("the tensor '{}' has an absurd shape", shown(tensor.name)));
    else tensor.elements *= size;
    tensor.dims.push_back(size);
  }
  tensor.type = cursor.number<std::uint32_t>("a tensor's type");
  tensor.offset = cursor.number<std::uint64_t>("a tensor's place");
  const auto packing = std::ranges::find(kPackings, tensor.type, &Packing::type);
  if (cursor.failed() || packing == std::end(kPackings)) return tensor;
  if (tensor.dims[0] % packing->elements != 0) {
    cursor.fail(fmt::format("the tensor '{}' has rows of {} elements, its type packs {}", shown(tensor.name), tensor.dims[0], packing->elements));
  }
  tensor.bytes = tensor.elements / packing->elements * packing->bytes;
  return tensor;
}

void check_places(Cursor& cursor, std::uint64_t alignment, const GgufHeader& header) {
  if (header.tensors.empty()) return;
  if (header.data_offset > header.file_bytes) return cursor.fail("it ends before its tensors begin");
  const std::uint64_t data_bytes = header.file_bytes - header.data_offset;
  for (const GgufTensor& tensor : header.tensors) {
    if (tensor.offset % alignment != 0) return cursor.fail(fmt::format("the tensor '{}' does not begin at a multiple of {}", shown(tensor.name), alignment));
    if (tensor.offset > data_bytes || tensor.bytes > data_bytes - tensor.offset) {
      return cursor.fail(fmt::format("it is cut short: the tensor '{}' needs {} bytes from {} on, the file has {}", shown(tensor.name), tensor.bytes,
                                     header.data_offset + tensor.offset, header.file_bytes));
    }
  }
}

void read_tensors(Cursor& cursor, std::uint64_t count, GgufHeader& header) {
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < count && !cursor.failed(); ++i) {
    GgufTensor tensor = read_tensor(cursor);
    if (cursor.failed()) return;
    if (!names.insert(tensor.name).second) return cursor.fail(fmt::format("the tensor '{}' is there twice", shown(tensor.name)));
    header.parameters += tensor.elements;
    header.tensors.push_back(std::move(tensor));
  }
}

}  // namespace

Result<GgufHeader> read_gguf_header(std::istream& in, std::uint64_t file_bytes) {
  Cursor cursor(in, file_bytes);
  char magic[4] = {};
  cursor.read(magic, sizeof magic, "its magic word");
  if (!cursor.failed() && std::memcmp(magic, "GGUF", 4) != 0) cursor.fail("it does not begin with 'GGUF'");
  GgufHeader header;
  header.file_bytes = file_bytes;
  header.version = cursor.number<std::uint32_t>("its version");
  if (!cursor.failed() && header.version != 2 && header.version != 3) {
    cursor.fail(std::byteswap(header.version) <= 3 ? "it is big-endian; this machine is not"
                                                   : fmt::format("it is of version {}; 2 and 3 are known", header.version));
  }
  const auto tensors = cursor.number<std::uint64_t>("its number of tensors");
  const auto pairs = cursor.number<std::uint64_t>("its number of pairs");
  // The least a pair and a tensor take: 8 + 4 + 1 and 8 + 4 + 8 + 4 + 8 bytes.
  if (!cursor.failed() && (pairs > kPairsMax || pairs > cursor.left() / 13)) cursor.fail(fmt::format("it claims {} key/value pairs", pairs));
  if (!cursor.failed() && (tensors > kTensorsMax || tensors > cursor.left() / 32)) cursor.fail(fmt::format("it claims {} tensors", tensors));
  read_pairs(cursor, pairs, header);

  std::uint64_t alignment = 32;
  if (const auto* given = header.find<std::int64_t>("general.alignment")) {
    alignment = static_cast<std::uint64_t>(*given);
    if (!std::has_single_bit(alignment) || alignment > kAlignmentMax) cursor.fail(fmt::format("general.alignment: {} is not a small power of two", *given));
  }
  if (!cursor.failed()) read_tensors(cursor, tensors, header);
  if (!cursor.failed()) {
    header.data_offset = (cursor.at() + alignment - 1) / alignment * alignment;
    check_places(cursor, alignment, header);
  }
  if (cursor.failed()) return cursor.error();
  return header;
}

Result<GgufHeader> read_gguf_header(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return Error{ErrorCode::not_found, fmt::format("'{}': there is no such file", path)};
  if (!std::filesystem::is_regular_file(status)) return Error{ErrorCode::invalid_argument, fmt::format("'{}' is not a file", path)};
  const std::uint64_t bytes = std::filesystem::file_size(path, error);
  std::ifstream in(path, std::ios::binary);
  if (error || !in) return Error{ErrorCode::permission_denied, fmt::format("'{}' cannot be read: {}", path, errno_text())};
  auto header = read_gguf_header(in, bytes);
  if (!header) return Error{header.error().code, fmt::format("'{}': {}", path, header.error().message)};
  return header;
}

}  // namespace pensieve
