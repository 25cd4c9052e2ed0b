// The body of POST /v1/embeddings: JSON text in, inputs out. Pure.
//
//   Errors   invalid_argument, beginning with the field's path.
#pragma once

#include <string_view>

#include "api/answer.h"
#include "base/result.h"

namespace pensieve::openai {

struct EmbeddingsRequest {
  Asked asked;          // Its prompt is inputs.
  bool base64 = false;  // encoding_format; else float.
};

Result<EmbeddingsRequest> parse_embeddings(std::string_view body);

}  // namespace pensieve::openai
