// The header of a safetensors file.
#include "catalogue/safetensors.h"

#include <sstream>

#include "base/check.h"
#include "fuzz.h"

using namespace pensieve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream in{std::string(view_of(data, size))};
  const Result<SafeTensors> tensors = read_safetensors_header(in, size);
  if (!tensors) {
    CHECK(tensors.error().code == ErrorCode::corrupt || tensors.error().code == ErrorCode::too_large, "a bad file is corrupt");
    CHECK(!tensors.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  for (const auto& [name, tensor] : *tensors) {
    CHECK(tensor.begin <= size && tensor.bytes <= size - tensor.begin, "a tensor lies inside the file");
  }
  return 0;
}
