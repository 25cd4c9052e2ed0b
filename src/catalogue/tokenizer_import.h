// A checkpoint folder's tokenizer in GGUF's terms: a SentencePiece model
// (tokenizer.model), or a tokenizer.json of byte-level BPE or of SentencePiece's kind.
//
//   Errors   not_found: no tokenizer; corrupt, invalid_argument: one that is broken or
//            of a kind that this does not know, naming the file and the reason.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace pensieve {

struct ImportedTokenizer {
  std::string model;  // "llama" or "gpt2".
  std::string pre;
  std::vector<std::string> texts;
  std::vector<float> scores;  // Of "llama".
  std::vector<std::int32_t> types;
  std::vector<std::string> merges;  // Of "gpt2".
  std::optional<std::uint32_t> begin_token, end_token, unknown_token, padding_token;
  bool adds_begin = false;
  bool adds_end = false;
  bool adds_space = false;    // Before the first word; of "llama".
  std::string chat_template;  // Empty: none.
};

// `vocabulary`: how many tokens the model's embedding has; the rest is padded.
Result<ImportedTokenizer> import_tokenizer(const std::string& folder, std::uint64_t vocabulary);

struct SentencePieceModel {
  std::vector<std::string> texts;
  std::vector<float> scores;
  std::vector<std::int32_t> types;
  bool adds_space = true;
};
// The protocol buffer in tokenizer.model.
Result<SentencePieceModel> parse_sentencepiece(const std::string& bytes);

}  // namespace pensieve
