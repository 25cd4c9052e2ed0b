// What a model says, in every family's syntax, cut anywhere: the same parts come out.
//
//   input   one digit: the family; one digit: tools 1, ended 2, thinking 4; four bytes:
//           how long the pieces are, in turn; then the answer.
#include <array>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "chat/answer_parser.h"
#include "fuzz.h"

using namespace pensieve;
using Kind = AnswerPart::Kind;

namespace {

constexpr std::size_t kHeadBytes = 6;
constexpr std::size_t kAnswerBytesMax = 4096;

ToolTable tool_table() {
  return ToolTable(std::vector<Tool>{
      {"get_weather", "", R"({"type":"object","properties":{"city":{"type":"string"},"days":{"type":"integer"}}})"},
      {"write_file", "", R"({"type":"object","properties":{"path":{"type":"string"},"content":{"type":"string"},"lines":{"type":"array"}}})"},
      {"now", "", R"({"type":"object"})"},
  });
}

struct Setting {
  const ToolSyntax& syntax;
  bool tools;
  bool ended;
  bool thinks;
};

// The parts, neighbours of a kind joined: where they were cut is no part of the answer.
std::vector<AnswerPart> parse(const Setting& setting, std::string_view answer, std::span<const std::size_t> lengths) {
  static const ToolTable tools = tool_table();
  const ThinkingMarks marks = setting.thinks ? ThinkingMarks{"<think>", "</think>"} : ThinkingMarks{};
  const auto parser = make_answer_parser(setting.syntax, marks, setting.tools ? tools : ToolTable());
  std::vector<AnswerPart> parts;
  for (std::size_t turn = 0; !answer.empty(); ++turn) {
    const std::string_view piece = answer.substr(0, lengths[turn % lengths.size()]);
    parser->push(piece, parts);
    answer.remove_prefix(piece.size());
  }
  parser->finish(setting.ended, parts);
  std::vector<AnswerPart> joined;
  for (AnswerPart& part : parts) {
    if (part.kind == Kind::call) {
      CHECK(setting.tools, "without tools no call comes out");
      CHECK(!part.call.name.empty(), "a call has a name");
      CHECK(nlohmann::json::parse(part.call.input, nullptr, false).is_object(), "a call's input is a JSON object");
    } else {
      CHECK(!part.text.empty(), "no part is empty");
    }
    if (part.kind != Kind::call && !joined.empty() && joined.back().kind == part.kind) joined.back().text += part.text;
    else joined.push_back(std::move(part));
  }
  return joined;
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kHeadBytes) return 0;
  const auto families = all_tool_syntaxes();
  const std::uint8_t flags = data[1];
  const Setting setting{*families[static_cast<std::uint8_t>(data[0] - '0') % families.size()], (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0};
  std::array<std::size_t, 4> lengths{};
  for (std::size_t i = 0; i < lengths.size(); ++i) lengths[i] = 1 + data[2 + i] % 61;
  const std::string_view answer = view_of(data, size).substr(kHeadBytes, kAnswerBytesMax);

  const std::vector<AnswerPart> whole = parse(setting, answer, std::array<std::size_t, 1>{kAnswerBytesMax});
  CHECK(parse(setting, answer, lengths) == whole, "the same parts come out however the answer is cut");
  CHECK(parse(setting, answer, std::array<std::size_t, 1>{1}) == whole, "the same parts come out byte by byte");
  return 0;
}
