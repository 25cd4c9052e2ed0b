// The first bytes of an image's file.
#include "base/check.h"
#include "engine/image_header.h"
#include "fuzz.h"

using namespace pensieve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Result<ImageHeader> header = read_image_header(view_of(data, size));
  if (!header) {
    CHECK(header.error().code == ErrorCode::invalid_argument && !header.error().message.empty(), "a bad image is refused in words");
    return 0;
  }
  CHECK(header->width > 0 && header->height > 0, "a picture has pixels");
  CHECK(std::uint64_t{header->width} * header->height <= kImageBytesMax && header->bytes <= kImageBytesMax, "what decoding takes is bounded");
  return 0;
}
