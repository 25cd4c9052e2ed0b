#include "engine/image_header.h"

#include <fmt/format.h>

#include <optional>

namespace pensieve {
namespace {

// Of a pixel: the file's own samples, the decoder's copies, the picture. Measured by what decoders allocate:
// a progressive JPEG keeps coefficients, a PNG its lines, both in the file's depth, then in eight bits.
constexpr std::uint64_t kBytesAPixel = 12;
constexpr std::uint64_t kBytesADeepPixel = 24;  // 16 bits a sample.

std::uint32_t byte(std::string_view file, std::size_t at) { return static_cast<unsigned char>(file[at]); }
std::uint32_t big(std::string_view file, std::size_t at, std::size_t bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | byte(file, at + i);
  return value;
}

struct Size {
  std::uint32_t width = 0, height = 0;
  bool deep = false;
};

// The first frame header, whose markers a decoder finds in the same way: segments one after another from the start.
std::optional<Size> jpeg_size(std::string_view file) {
  for (std::size_t at = 2; at + 4 <= file.size();) {
    if (byte(file, at) != 0xFF) return std::nullopt;
    const std::uint32_t marker = byte(file, at + 1);
    if (marker == 0xFF) {  // Fill.
      ++at;
      continue;
    }
    const bool alone = marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    if (alone) {
      at += 2;
      continue;
    }
    if (marker == 0xD9 || marker == 0xDA) return std::nullopt;  // The end, or samples: no frame came.
    const std::uint32_t length = big(file, at + 2, 2);
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame) return length >= 8 && at + 9 <= file.size() ? std::optional(Size{big(file, at + 7, 2), big(file, at + 5, 2)}) : std::nullopt;
    if (length < 2) return std::nullopt;
    at += 2 + length;
  }
  return std::nullopt;
}

Error bad(std::string why) { return {ErrorCode::invalid_argument, std::move(why)}; }

}  // namespace

Result<ImageHeader> read_image_header(std::string_view file) {
  ImageHeader header;
  std::optional<Size> size;
  if (file.starts_with("\x89PNG\r\n\x1A\n")) {
    header.format = ImageHeader::Format::png;
    if (file.size() >= 26 && file.substr(12, 4) == "IHDR") size = Size{big(file, 16, 4), big(file, 20, 4), byte(file, 24) > 8};
  } else if (file.starts_with("\xFF\xD8\xFF")) {
    header.format = ImageHeader::Format::jpeg;
    size = jpeg_size(file);
  } else if (file.starts_with("GIF87a") || file.starts_with("GIF89a")) {
    header.format = ImageHeader::Format::gif;
    if (file.size() >= 10) size = Size{byte(file, 7) << 8 | byte(file, 6), byte(file, 9) << 8 | byte(file, 8)};
  } else if (file.starts_with("RIFF") && file.size() >= 12 && file.substr(8, 4) == "WEBP") {
    return bad("this image is WebP; PNG, JPEG and GIF can be read here");
  } else {
    return bad("this is neither PNG, JPEG nor GIF");
  }
  if (!size || size->width == 0 || size->height == 0) return bad("this image is damaged: its size cannot be read");
  header.width = size->width;
  header.height = size->height;
  const std::uint64_t pixels = std::uint64_t{size->width} * size->height;
  const std::uint64_t each = size->deep ? kBytesADeepPixel : kBytesAPixel;
  if (pixels > kImageBytesMax / each) {
    return bad(fmt::format("this image has {} by {} pixels; at most {} million{} are read", size->width, size->height, kImageBytesMax / each / 1'000'000, size->deep ? " of 16 bits a sample" : ""));
  }
  header.bytes = pixels * each;
  return header;
}

}  // namespace pensieve
