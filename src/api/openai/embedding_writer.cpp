#include "api/openai/embedding_writer.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "core/unit_vector.h"

namespace pensieve::openai {
namespace {

// Thousands of vectors of thousands of numbers: written as text at once, not as JSON values first.
class EmbeddingWriter final : public AnswerWriter {
 public:
  explicit EmbeddingWriter(const EmbeddingsRequest& request) : model_(request.asked.model), dimensions_(static_cast<std::size_t>(request.asked.dimensions)), base64_(request.base64) {}

  std::string events_for(const StreamEvent&, const std::string&) override { return {}; }  // It is never streamed.
  std::string_view ping() const override { return {}; }

  void collect(const StreamEvent& event) override {
    const auto* embedded = std::get_if<Embedded>(&event);
    if (embedded == nullptr) return;
    std::vector<float> values = embedded->values;
    if (dimensions_ > 0 && dimensions_ < values.size()) {
      values.resize(dimensions_);
      make_unit(values);  // A beginning that is all 0 stays so.
    }
    if (!data_.empty()) data_ += ',';
    fmt::format_to(std::back_inserter(data_), R"({{"object":"embedding","index":{},"embedding":)", embedded->index);
    write(values);
    data_ += '}';
  }

  std::string whole(const Finished& finished) override {
    std::string reply = R"({"object":"list","data":[)";
    reply += data_;
    const std::int32_t tokens = finished.usage.input_tokens;
    reply += fmt::format(R"(],"model":{},"usage":{{"prompt_tokens":{},"total_tokens":{}}}}})", nlohmann::json(model_).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), tokens, tokens);
    return reply;
  }

 private:
  void write(const std::vector<float>& values) {
    static_assert(std::endian::native == std::endian::little);
    if (base64_) {
      data_ += '"';
      data_ += base64_encode({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
      data_ += '"';
      return;
    }
    data_ += '[';
    for (std::size_t i = 0; i < values.size(); ++i) fmt::format_to(std::back_inserter(data_), "{}{}", i == 0 ? "" : ",", values[i]);  // The shortest that reads as the same.
    data_ += ']';
  }

  std::string model_;
  std::size_t dimensions_;  // 0: all.
  bool base64_;
  std::string data_;
};

}  // namespace

std::unique_ptr<AnswerWriter> embedding_writer(const EmbeddingsRequest& request) { return std::make_unique<EmbeddingWriter>(request); }

}  // namespace pensieve::openai
