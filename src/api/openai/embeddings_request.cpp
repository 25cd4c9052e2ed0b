#include "api/openai/embeddings_request.h"

#include <algorithm>

#include "api/openai/fields.h"
#include "api/request_json.h"

namespace pensieve::openai {
namespace {

constexpr std::size_t kInputsMax = 2048;  // As OpenAI has it.

bool is_token(const Json& value) { return value.is_number_unsigned() && value.get<std::uint64_t>() <= INT32_MAX; }

std::vector<TokenId> tokens_in(const Json& list) {
  std::vector<TokenId> tokens;
  tokens.reserve(list.size());
  for (const Json& one : list) tokens.push_back(static_cast<TokenId>(one.get<std::uint64_t>()));
  return tokens;
}

// One input: a text or token ids. The error is half a sentence.
Result<EmbedInput> input_of(const Json& value) {
  const auto wrong = [](const char* why) { return Error{ErrorCode::invalid_argument, why}; };
  if (!value.is_string() && !value.is_array()) return wrong("must be a string or an array of token ids");
  if (value.is_string() ? value.get_ref<const std::string&>().empty() : value.empty()) return wrong("must not be empty");
  if (value.is_string()) return EmbedInput{value.get<std::string>(), {}};
  if (!std::ranges::all_of(value, is_token)) return wrong("must be an array of token ids");
  return EmbedInput{{}, tokens_in(value)};
}

void read_inputs(Fields& fields, std::vector<EmbedInput>& inputs) {
  const Json* value = fields.find("input");
  if (value == nullptr) return fields.fail("input", "field required");
  // A string or an array of numbers is one input.
  const bool one = value->is_string() || (value->is_array() && !value->empty() && value->front().is_number());
  if (one) {
    auto input = input_of(*value);
    if (!input) return fields.fail("input", input.error().message);
    inputs.push_back(*std::move(input));
    return;
  }
  if (!value->is_array()) return fields.fail("input", "must be a string, an array of strings, an array of token ids or an array of such arrays");
  if (value->empty()) return fields.fail("input", "must not be empty");
  if (value->size() > kInputsMax) return fields.fail("input", fmt::format("has {} inputs; at most {} are possible", value->size(), kInputsMax));
  for (std::size_t i = 0; i < value->size(); ++i) {
    auto input = input_of((*value)[i]);
    if (input && (*value)[i].type() != value->front().type()) input = Error{ErrorCode::invalid_argument, "strings and arrays of token ids do not go together"};
    if (!input) return fields.fail(fmt::format("input.{}", i), input.error().message);
    inputs.push_back(*std::move(input));
  }
}

}  // namespace

Result<EmbeddingsRequest> parse_embeddings(std::string_view body) {
  const auto json = parse_request_json(body);
  if (!json) return json.error();
  Fields fields(*json, "");
  EmbeddingsRequest request;
  Asked& asked = request.asked;
  asked.model = fields.model();
  read_inputs(fields, asked.prompt.inputs);
  const std::string encoding = fields.find("encoding_format") == nullptr ? "float" : fields.text("encoding_format");
  if (encoding != "float" && encoding != "base64") fields.fail("encoding_format", "must be float or base64");
  request.base64 = encoding == "base64";
  if (const auto dimensions = fields.integer("dimensions", 1)) asked.dimensions = static_cast<std::int32_t>(std::min<std::int64_t>(*dimensions, INT32_MAX));
  if (fields.failed()) return fields.error();
  return request;
}

}  // namespace pensieve::openai
