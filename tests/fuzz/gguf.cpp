// The header of a GGUF file, and the plan that is made from it.
#include <sstream>

#include "base/check.h"
#include "catalogue/gguf_header.h"
#include "catalogue/model_plan.h"
#include "fuzz.h"

using namespace pensieve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::istringstream in{std::string(view_of(data, size))};
  const Result<GgufHeader> header = read_gguf_header(in, size);
  if (!header) {
    CHECK(header.error().code == ErrorCode::corrupt, "a bad file is corrupt");
    CHECK(!header.error().message.empty(), "an error says what is wrong");
    return 0;
  }
  CHECK(header->data_offset <= size || header->tensors.empty(), "the data begin inside the file");
  for (const GgufTensor& tensor : header->tensors) {
    CHECK(!tensor.dims.empty() && tensor.dims.size() <= 4, "a tensor has 1 to 4 dimensions");
    CHECK(tensor.offset <= size && tensor.bytes <= size && header->data_offset + tensor.offset + tensor.bytes <= size, "a tensor lies inside the file");
  }
  for (const std::uint64_t context : {std::uint64_t{0}, std::uint64_t{4096}}) {
    if (const Result<ModelPlan> plan = plan_model(*header, context, 2)) CHECK(plan->total_bytes >= plan->kv_bytes, "a plan's sum does not wrap");
  }
  return 0;
}
