#include "catalogue/tokenizer_import.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/utf8.h"
#include "catalogue/json_text.h"

namespace pensieve {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kFileBytesMax = 128u << 20;
constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;

Error corrupt(std::string message) { return {ErrorCode::corrupt, std::move(message)}; }

std::optional<std::string> read_file(const fs::path& path) {
  std::error_code error;
  const std::uint64_t bytes = fs::file_size(path, error);
  if (error || bytes > kFileBytesMax) return std::nullopt;
  std::ifstream in(path, std::ios::binary);
  std::string text(bytes, '\0');
  if (!in.read(text.data(), static_cast<std::streamsize>(bytes))) return std::nullopt;
  return text;
}

json read_json(const fs::path& path) {  // Null: not there or broken.
  const auto text = read_file(path);
  json value = text ? parse_json(*text) : json();
  return value.is_discarded() ? json() : value;
}

const json& at(const json& object, const char* key) {
  static const json kNull;
  if (!object.is_object()) return kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

std::string text_in(const json& value) {  // "text", or {"content": "text"}.
  if (value.is_string()) return value.get<std::string>();
  return at(value, "content").is_string() ? at(value, "content").get<std::string>() : std::string();
}

// ---- SentencePiece's protocol buffer: field 1 repeated {1: text, 2: score, 3: type}, field 3 {3: add_dummy_prefix}.

class Buffer {
 public:
  explicit Buffer(std::string_view bytes) : bytes_(bytes) {}

  bool failed() const { return failed_; }
  bool at_end() const { return at_ == bytes_.size() || failed_; }

  std::uint64_t number() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return fail();
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return fail();
  }

  std::string_view bytes(std::uint64_t count) {
    if (count > bytes_.size() - at_) return fail(), std::string_view();
    const std::string_view part = bytes_.substr(at_, count);
    at_ += count;
    return part;
  }

  void skip(std::uint64_t wire_type) {
    if (wire_type == 0) number();
    else if (wire_type == 1) bytes(8);
    else if (wire_type == 2) bytes(number());
    else if (wire_type == 5) bytes(4);
    else fail();
  }

 private:
  std::uint64_t fail() {
    failed_ = true;
    return 0;
  }
  std::string_view bytes_;
  std::size_t at_ = 0;
  bool failed_ = false;
};

bool read_piece(std::string_view bytes, SentencePieceModel& model) {
  Buffer buffer(bytes);
  std::string text;
  float score = 0;
  std::uint64_t type = 1;
  while (!buffer.at_end()) {
    const std::uint64_t tag = buffer.number();
    if (tag == (1 << 3 | 2)) text = buffer.bytes(buffer.number());
    else if (tag == (3 << 3 | 0)) type = buffer.number();
    else if (tag == (2 << 3 | 5)) {
      const std::string_view four = buffer.bytes(4);
      if (four.size() == 4) std::copy_n(four.data(), 4, reinterpret_cast<char*>(&score));
    } else {
      buffer.skip(tag & 7);
    }
  }
  if (buffer.failed() || type < 1 || type > 6 || !std::isfinite(score) || !utf8_valid(text)) return false;
  model.texts.push_back(std::move(text));
  model.scores.push_back(score);
  model.types.push_back(static_cast<std::int32_t>(type));
  return true;
}

// ---- tokenizer.json

// How text is cut before BPE, by the regular expression in the file. The same words in another cut give other tokens,
// so what is not known is refused.
std::string pre_tokenizer_name(const json& tokenizer) {
  std::string pattern;
  bool byte_level = false;
  const auto look = [&](const json& part) {
    pattern += at(at(part, "pattern"), "Regex").is_string() ? at(at(part, "pattern"), "Regex").get<std::string>() : "";
    byte_level = byte_level || at(part, "type") == "ByteLevel";
  };
  const json& pre = at(tokenizer, "pre_tokenizer");
  look(pre);
  if (at(pre, "pretokenizers").is_array()) for (const json& part : at(pre, "pretokenizers")) look(part);
  const bool contractions = pattern.find("'s|") != std::string::npos || pattern.find("'[sS]") != std::string::npos;
  const bool cased = pattern.find("\\p{Lu}") != std::string::npos;
  const bool three_digits = pattern.find("\\p{N}{1,3}") != std::string::npos;
  if (pattern.empty()) return byte_level ? "gpt-2" : "";
  if (cased) return contractions && three_digits ? "gpt-4o" : !contractions && !three_digits ? "tekken" : "";
  if (!contractions || pattern.find("[^\\r\\n\\p{L}\\p{N}]?\\p{L}+") == std::string::npos) return "";
  return three_digits ? "llama-bpe" : "qwen2";
}

struct Reader {
  const fs::path& folder;
  std::uint64_t vocabulary;
  ImportedTokenizer made{};

  Result<void> put(std::uint64_t id, std::string text, std::int32_t type, const char* file) {
    if (id >= vocabulary) return corrupt(fmt::format("{}: the token {} is beyond the model's {} embeddings", file, id, vocabulary));
    if (!utf8_valid(text) || text.size() > (1u << 16)) return corrupt(fmt::format("{}: the token {} is not a text", file, id));
    made.texts[id] = std::move(text);
    made.types[id] = type;
    return {};
  }

  void start() {
    made.texts.assign(vocabulary, "");
    made.types.assign(vocabulary, kUnused);
    made.scores.assign(vocabulary, -10000);
  }

  Result<void> sentencepiece(const std::string& bytes) {
    auto model = parse_sentencepiece(bytes);
    if (!model) return std::move(model).error();
    if (model->texts.size() > vocabulary) return corrupt(fmt::format("tokenizer.model: {} tokens, the model has {} embeddings", model->texts.size(), vocabulary));
    made.model = "llama";
    made.pre = "default";
    made.adds_space = model->adds_space;
    made.adds_begin = true;
    std::ranges::move(model->texts, made.texts.begin());
    std::ranges::copy(model->types, made.types.begin());
    std::ranges::copy(model->scores, made.scores.begin());
    return {};
  }

  Result<void> from_json(const json& tokenizer) {
    const json& model = at(tokenizer, "model");
    if (at(model, "type") != "BPE" && !(at(model, "type").is_null() && at(model, "merges").is_array())) {
      return Error{ErrorCode::invalid_argument, "tokenizer.json: only BPE is known here"};
    }
    if (!at(model, "vocab").is_object() || !at(model, "merges").is_array()) return corrupt("tokenizer.json: vocab or merges are missing");
    const bool pieces = at(model, "byte_fallback") == true;
    for (const auto& [text, id] : at(model, "vocab").items()) {
      if (!id.is_number_unsigned()) return corrupt("tokenizer.json: a token's number is none");
      const bool byte = pieces && text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
      const std::int32_t type = byte ? kByte : text == text_in(at(model, "unk_token")) ? kUnknown : kNormal;
      if (const auto done = put(id.get<std::uint64_t>(), text, type, "tokenizer.json"); !done) return done;
    }
    if (const auto done = merges(at(model, "merges"), pieces); !done) return done;
    if (pieces) {
      made.model = "llama";
      made.pre = "default";
      const std::string normalizer = at(tokenizer, "normalizer").dump() + at(tokenizer, "pre_tokenizer").dump();
      made.adds_space = normalizer.find("\"Prepend\"") != std::string::npos || normalizer.find("\"prepend_scheme\":\"always\"") != std::string::npos ||
                        normalizer.find("\"prepend_scheme\":\"first\"") != std::string::npos;
      made.adds_begin = true;
      return {};
    }
    made.model = "gpt2";
    made.pre = pre_tokenizer_name(tokenizer);
    if (made.pre.empty()) return Error{ErrorCode::invalid_argument, "tokenizer.json: its way of cutting text into words is none of those known here"};
    made.scores.clear();
    return {};
  }

  Result<void> merges(const json& list, bool pieces) {
    std::unordered_map<std::string, std::size_t> ids;
    if (pieces) for (std::size_t i = 0; i < made.texts.size(); ++i) ids.emplace(made.texts[i], i);
    float rank = 0;
    for (const json& merge : list) {
      std::string left, right;
      if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
        left = merge[0].get<std::string>();
        right = merge[1].get<std::string>();
      } else if (merge.is_string() && merge.get<std::string>().find(' ') != std::string::npos) {
        const std::string both = merge.get<std::string>();
        left = both.substr(0, both.find(' ', 1));
        right = both.substr(std::min(both.size(), left.size() + 1));
      } else {
        return corrupt("tokenizer.json: a merge does not join two texts");
      }
      // SentencePiece joins what has the best score: a score of minus the rank joins in the same order.
      if (const auto id = pieces ? ids.find(left + right) : ids.end(); id != ids.end() && made.scores[id->second] <= -10000) made.scores[id->second] = -rank;
      if (!pieces) made.merges.push_back(left + ' ' + right);
      rank += 1;
    }
    return {};
  }

  Result<void> added(std::uint64_t id, const std::string& text, bool special, const char* file) {
    // A marker that the vocabulary knows as unknown or as a byte stays that.
    if (id < vocabulary && made.texts[id] == text && (made.types[id] == kUnknown || made.types[id] == kByte)) return {};
    return put(id, text, special ? kControl : kUserDefined, file);
  }

  Result<void> added_tokens(const json& tokenizer, const json& config) {
    if (at(tokenizer, "added_tokens").is_array()) {
      for (const json& token : at(tokenizer, "added_tokens")) {
        if (!at(token, "id").is_number_unsigned()) return corrupt("tokenizer.json: an added token's number is none");
        if (const auto done = added(at(token, "id").get<std::uint64_t>(), text_in(token), at(token, "special") == true, "tokenizer.json"); !done) return done;
      }
    }
    const json list = read_json(folder / "added_tokens.json");
    if (list.is_object()) {
      for (const auto& [text, id] : list.items()) {
        if (!id.is_number_unsigned()) return corrupt("added_tokens.json: a token's number is none");
        if (const auto done = added(id.get<std::uint64_t>(), text, true, "added_tokens.json"); !done) return done;
      }
    }
    if (at(config, "added_tokens_decoder").is_object()) {
      for (const auto& [id, token] : at(config, "added_tokens_decoder").items()) {
        if (id.empty() || id.size() > 9 || !std::ranges::all_of(id, [](unsigned char c) { return std::isdigit(c) != 0; })) return corrupt("tokenizer_config.json: an added token's number is none");
        if (const auto done = added(std::stoull(id), text_in(token), at(token, "special") == true, "tokenizer_config.json"); !done) return done;
      }
    }
    return {};
  }

  std::optional<std::uint32_t> id_of(const std::string& text) const {
    const auto found = std::ranges::find(made.texts, text);
    return text.empty() || found == made.texts.end() ? std::nullopt : std::optional(static_cast<std::uint32_t>(found - made.texts.begin()));
  }

  void finish(const json& tokenizer, const json& config) {
    for (std::size_t i = 0; i < made.texts.size(); ++i) {
      if (made.texts[i].empty()) made.texts[i] = fmt::format("[PAD{}]", i), made.types[i] = kUnused;
    }
    made.begin_token = id_of(text_in(at(config, "bos_token")));
    made.end_token = id_of(text_in(at(config, "eos_token")));
    made.unknown_token = id_of(text_in(at(config, "unk_token")));
    made.padding_token = id_of(text_in(at(config, "pad_token")));
    if (at(config, "add_bos_token").is_boolean()) made.adds_begin = at(config, "add_bos_token").get<bool>();
    else if (const json& after = at(tokenizer, "post_processor"); !after.is_null() && made.begin_token) made.adds_begin = after.dump().find(json(made.texts[*made.begin_token]).dump()) != std::string::npos;
    if (!made.begin_token) made.adds_begin = false;
    if (at(config, "add_eos_token").is_boolean()) made.adds_end = at(config, "add_eos_token").get<bool>();
    if (at(config, "add_prefix_space").is_boolean()) made.adds_space = at(config, "add_prefix_space").get<bool>();
    made.chat_template = chat_template(config);
  }

  std::string chat_template(const json& config) const {
    if (const auto jinja = read_file(folder / "chat_template.jinja"); jinja && utf8_valid(*jinja)) return *jinja;
    json given = at(config, "chat_template");
    if (given.is_null()) given = at(read_json(folder / "chat_template.json"), "chat_template");
    if (given.is_string()) return given.get<std::string>();
    if (given.is_array()) {
      for (const json& each : given) if (at(each, "name") == "default" && at(each, "template").is_string()) return at(each, "template").get<std::string>();
    }
    return {};
  }
};

}  // namespace

Result<SentencePieceModel> parse_sentencepiece(const std::string& bytes) {
  Buffer buffer(bytes);
  SentencePieceModel model;
  while (!buffer.at_end()) {
    const std::uint64_t tag = buffer.number();
    if (tag == (1 << 3 | 2)) {
      if (!read_piece(buffer.bytes(buffer.number()), model)) return corrupt(fmt::format("tokenizer.model: its token {} is broken", model.texts.size()));
    } else if (tag == (3 << 3 | 2)) {
      Buffer normalizer(buffer.bytes(buffer.number()));
      while (!normalizer.at_end()) {
        const std::uint64_t inner = normalizer.number();
        if (inner == (3 << 3 | 0)) model.adds_space = normalizer.number() != 0;
        else normalizer.skip(inner & 7);
      }
    } else {
      buffer.skip(tag & 7);
    }
  }
  if (buffer.failed() || model.texts.empty()) return corrupt("tokenizer.model: it is not a SentencePiece model, or it is cut short");
  return model;
}

Result<ImportedTokenizer> import_tokenizer(const std::string& path, std::uint64_t vocabulary) {
  const fs::path folder(path);
  std::error_code error;
  const bool pieces = fs::exists(folder / "tokenizer.model", error);
  const bool in_json = fs::exists(folder / "tokenizer.json", error);
  if (!pieces && !in_json) return Error{ErrorCode::not_found, fmt::format("'{}' has no tokenizer.model and no tokenizer.json", path)};
  const json config = read_json(folder / "tokenizer_config.json");
  const json tokenizer = in_json ? read_json(folder / "tokenizer.json") : json();
  if (in_json && !tokenizer.is_object()) return corrupt("tokenizer.json: it is not a JSON object");
  Reader reader{folder, vocabulary};
  reader.start();
  if (pieces) {
    const auto bytes = read_file(folder / "tokenizer.model");
    if (!bytes) return corrupt("tokenizer.model: it cannot be read");
    if (const auto done = reader.sentencepiece(*bytes); !done) return done.error();
  } else if (const auto done = reader.from_json(tokenizer); !done) {
    return done.error();
  }
  if (const auto done = reader.added_tokens(tokenizer, config); !done) return done.error();
  reader.finish(tokenizer, config);
  return std::move(reader.made);
}

}  // namespace pensieve
