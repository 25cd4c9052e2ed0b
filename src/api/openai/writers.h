// Answers in OpenAI's shapes, one writer for each endpoint. Chat completions and
// completions end their stream with "data: [DONE]"; responses names its events and
// numbers them. What a model thinks goes into `reasoning_content` (chat) or a
// reasoning item (responses), and is left out of plain completions.
//
//   Threads  one; plain state.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/answer.h"
#include "api/openai/request.h"

namespace pensieve::openai {

// `id`: unique, without the endpoint's prefix. `created_s`: seconds since 1970.
std::unique_ptr<AnswerWriter> chat_writer(const std::string& id, std::int64_t created_s, const Request& request);
std::unique_ptr<AnswerWriter> completion_writer(const std::string& id, std::int64_t created_s, const Request& request);
std::unique_ptr<AnswerWriter> response_writer(const std::string& id, std::int64_t created_s, const Request& request);

}  // namespace pensieve::openai
