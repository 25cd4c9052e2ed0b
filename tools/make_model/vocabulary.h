// A valid tokenizer of any size for a stand-in model: the markers of its family,
// every byte, and made-up syllables up to the size asked for.
//
//   Errors   none: any size from 512 on works.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace pensieve {

enum class Family { phi3, chatml, granite, gemma, bert };

inline constexpr std::int64_t kTokenTypes = 2;  // Of bert: which of two texts a token belongs to.

// What `tokenizer.*` in a GGUF says.
struct Vocabulary {
  std::string model;  // "llama": SentencePiece with byte fallback; "gpt2": byte-level BPE; "bert": pieces of words.
  std::string pre;    // How text is cut before BPE, by libllama's names.
  std::vector<std::string> texts;
  std::vector<float> scores;        // Of "llama".
  std::vector<std::int32_t> types;  // As GGUF numbers them.
  std::vector<std::string> merges;  // Of "gpt2".
  std::int32_t begin_token = -1;    // -1: none.
  std::int32_t end_token = -1;      // Of a turn.
  std::int32_t unknown_token = -1;
  std::int32_t separator_token = -1, padding_token = -1, mask_token = -1;  // Of "bert".
  bool adds_begin = false;
  bool adds_end = false;      // Of models that pool at the last token.
  std::string chat_template;  // Empty: none.
};

Vocabulary make_vocabulary(Family family, std::int64_t size);

}  // namespace pensieve
