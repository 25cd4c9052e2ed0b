// The answer of POST /v1/embeddings: {"object":"list","data":[{"object":"embedding","index",
// "embedding"}],"model","usage"}. Vectors that were asked for with fewer dimensions are their
// beginnings, made of length 1 again (Matryoshka).
//
//   Threads  one; plain state.
#pragma once

#include <memory>

#include "api/answer.h"
#include "api/openai/embeddings_request.h"

namespace pensieve::openai {

std::unique_ptr<AnswerWriter> embedding_writer(const EmbeddingsRequest& request);

}  // namespace pensieve::openai
