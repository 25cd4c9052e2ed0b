#include "vocabulary.h"

#include <fmt/format.h>

namespace pensieve {
namespace {

constexpr std::int32_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kByte = 6;
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz";

constexpr const char* kPhi3Template =
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}";
constexpr const char* kChatMlTemplate =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
constexpr const char* kGraniteTemplate =
    "{% for message in messages %}{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}";
// Gemma has no system turn: its text stands before the first user's.
constexpr const char* kGemmaTemplate =
    "{{ bos_token }}{% set first = namespace(text='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set first.text = first.text + message['content'] + '\\n\\n' %}"
    "{% else %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' + first.text + message['content'] + "
    "'<end_of_turn>\\n' }}{% set first.text = '' %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";

class Maker {
 public:
  explicit Maker(std::size_t size) : size_(size) {}

  bool full() const { return made.texts.size() >= size_; }

  std::int32_t add(std::string text, float score, std::int32_t type) {
    made.texts.push_back(std::move(text));
    made.scores.push_back(score);
    made.types.push_back(type);
    return static_cast<std::int32_t>(made.texts.size()) - 1;
  }

  // The markers come last, at the end of the vocabulary: room is left for them.
  void leave_room(std::size_t count) { size_ -= count; }

  Vocabulary made;

 private:
  std::size_t size_;
};

std::string word(std::size_t number, int length) {
  std::string text;
  for (int i = 0; i < length; ++i, number /= kLetters.size()) text.push_back(kLetters[number % kLetters.size()]);
  return text;
}

std::size_t words_of(int length) { return length == 0 ? 1 : kLetters.size() * words_of(length - 1); }

// Every word of two letters and more, after its beginnings, so that merging finds its way to it.
template <typename Add>
void for_each_word(const Maker& maker, const Add& add) {
  for (int length = 2; length <= 4; ++length) {
    for (const bool spaced : {false, true}) {
      for (std::size_t number = 0; number < words_of(length) && !maker.full(); ++number) add(word(number, length), spaced);
    }
  }
}

void add_sentence_pieces(Maker& maker, const std::vector<const char*>& markers) {
  for (int byte = 0; byte < 256; ++byte) maker.add(fmt::format("<0x{:02X}>", byte), 0, kByte);
  for (const char* marker : markers) maker.add(marker, 0, kControl);
  const std::string space = "\xE2\x96\x81";
  maker.add(space, -1, kNormal);
  for (char c = '!'; c <= '~'; ++c) maker.add(std::string(1, c), -2, kNormal);
  float score = -3;
  for_each_word(maker, [&](const std::string& text, bool spaced) { maker.add(spaced ? space + text : text, score--, kNormal); });
}

std::string utf8_of(unsigned code) {
  if (code < 0x80) return {static_cast<char>(code)};
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

// Byte-level BPE writes each byte as a printable character: those that are one stand for themselves.
void add_byte_pairs(Maker& maker) {
  const std::string space = "\xC4\xA0";
  unsigned replacement = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    maker.add(utf8_of(printable ? byte : replacement++), 0, kNormal);
  }
  for (const char letter : kLetters) {
    maker.add(space + letter, 0, kNormal);
    maker.made.merges.push_back(fmt::format("{} {}", space, letter));
  }
  for_each_word(maker, [&](const std::string& text, bool spaced) {
    const std::string whole = spaced ? space + text : text;
    maker.made.merges.push_back(fmt::format("{} {}", whole.substr(0, whole.size() - 1), whole.back()));
    maker.add(whole, 0, kNormal);
  });
}

void make_phi3(Maker& maker) {
  maker.made.model = "llama";
  maker.made.pre = "default";
  maker.made.unknown_token = maker.add("<unk>", 0, kUnknown);
  maker.made.begin_token = maker.add("<s>", 0, kControl);
  maker.add("</s>", 0, kControl);
  add_sentence_pieces(maker, {"<|user|>", "<|assistant|>", "<|end|>", "<|system|>", "<|endoftext|>"});
  maker.made.end_token = 261;  // <|end|>: 3 and 256 bytes stand before its three.
  maker.made.adds_begin = true;
  maker.made.chat_template = kPhi3Template;
}

void make_gemma(Maker& maker) {
  maker.made.model = "llama";
  maker.made.pre = "default";
  maker.add("<pad>", 0, kControl);
  maker.add("<eos>", 0, kControl);
  maker.made.begin_token = maker.add("<bos>", 0, kControl);
  maker.made.unknown_token = maker.add("<unk>", 0, kUnknown);
  maker.add("<start_of_turn>", 0, kControl);
  maker.made.end_token = maker.add("<end_of_turn>", 0, kControl);
  add_sentence_pieces(maker, {});
  maker.made.adds_begin = true;
  maker.made.chat_template = kGemmaTemplate;
}

void make_chatml(Maker& maker) {
  maker.made.model = "gpt2";
  maker.made.pre = "qwen2";
  maker.leave_room(7);
  add_byte_pairs(maker);
  maker.add("<|endoftext|>", 0, kControl);
  maker.add("<|im_start|>", 0, kControl);
  maker.made.end_token = maker.add("<|im_end|>", 0, kControl);
  for (const char* marker : {"<tool_call>", "</tool_call>", "<think>", "</think>"}) maker.add(marker, 0, kUserDefined);
  maker.made.chat_template = kChatMlTemplate;
}

void make_granite(Maker& maker) {
  maker.made.model = "gpt2";
  maker.made.pre = "refact";
  maker.leave_room(3);
  add_byte_pairs(maker);
  maker.made.end_token = maker.add("<|end_of_text|>", 0, kControl);
  maker.add("<|start_of_role|>", 0, kControl);
  maker.add("<|end_of_role|>", 0, kControl);
  maker.made.chat_template = kGraniteTemplate;
}

// Lower case; a word is its longest piece that begins it, then the longest that goes on, and so on.
void make_bert(Maker& maker) {
  maker.made.model = "bert";
  maker.made.pre = "default";
  maker.made.padding_token = maker.add("[PAD]", 0, kControl);
  maker.made.unknown_token = maker.add("[UNK]", 0, kUnknown);
  maker.made.begin_token = maker.add("[CLS]", 0, kControl);
  maker.made.separator_token = maker.add("[SEP]", 0, kControl);
  maker.made.mask_token = maker.add("[MASK]", 0, kControl);
  maker.made.adds_begin = true;
  const std::string begins = "\xE2\x96\x81";
  for (char c = '!'; c <= '~'; ++c) {
    if (c >= 'A' && c <= 'Z') continue;
    maker.add(begins + c, 0, kNormal);
    maker.add(std::string(1, c), 0, kNormal);
  }
  for_each_word(maker, [&](const std::string& text, bool spaced) { maker.add(spaced ? begins + text : text, 0, kNormal); });
}

}  // namespace

Vocabulary make_vocabulary(Family family, std::int64_t size) {
  Maker maker(static_cast<std::size_t>(size));
  switch (family) {
    case Family::phi3: make_phi3(maker); break;
    case Family::chatml: make_chatml(maker); break;
    case Family::granite: make_granite(maker); break;
    case Family::gemma: make_gemma(maker); break;
    case Family::bert: make_bert(maker); break;
  }
  return std::move(maker.made);
}

}  // namespace pensieve
