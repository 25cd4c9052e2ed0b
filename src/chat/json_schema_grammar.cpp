#include "chat/json_schema_grammar.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json_nesting.h"
#include "chat/json_schema_rules.h"

namespace pensieve {

struct GrammarBuilder::State : SchemaRules {
  using SchemaRules::SchemaRules;
};

GrammarBuilder::GrammarBuilder(GrammarLimits limits) : state_(std::make_unique<State>(limits)) {}
GrammarBuilder::GrammarBuilder(GrammarBuilder&&) noexcept = default;
GrammarBuilder& GrammarBuilder::operator=(GrammarBuilder&&) noexcept = default;
GrammarBuilder::~GrammarBuilder() = default;

Result<std::string> GrammarBuilder::add_schema(std::string_view schema, std::string_view place) {
  State::Place top{nullptr, state_->roots.size(), std::string(place)};
  if (schema.size() > state_->limits.schema_bytes_max) return State::too_much(top, fmt::format("the schema has {} bytes; at most {} are read", schema.size(), state_->limits.schema_bytes_max));
  // The parser recurses.
  if (json_nesting(schema) > 4 * state_->limits.depth_max) return State::too_much(top, fmt::format("nested more than {} deep", 4 * state_->limits.depth_max));
  auto root = std::make_unique<SchemaRules::Json>(SchemaRules::Json::parse(schema, nullptr, false));
  if (root->is_discarded()) return State::wrong(top, "the schema is not JSON");
  state_->roots.push_back(std::move(root));
  top.root = state_->roots.back().get();
  auto rule = state_->rule_for(*top.root, top);
  if (!rule) return rule;
  if (rule->empty()) return State::wrong(top, "no value matches the schema");
  if (Result<void> left = state_->room(top); !left) return std::move(left).error();
  return rule;
}

void GrammarBuilder::add_rule(std::string_view name, std::string_view body) {
  state_->own.insert(std::string(name));
  state_->emit(name, body);
}
bool GrammarBuilder::has_rule(std::string_view name) const { return state_->own.contains(std::string(name)); }
void GrammarBuilder::add_note(std::string note) { state_->note(std::move(note)); }

std::string GrammarBuilder::literal(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += fmt::format("\\{}", c);
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) out += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    else out.push_back(c);
  }
  return out + "\"";
}

std::string GrammarBuilder::text() const { return state_->rules; }
const std::vector<std::string>& GrammarBuilder::notes() const { return state_->notes; }

Result<SchemaGrammar> json_schema_grammar(std::string_view schema, std::string_view place, GrammarLimits limits) {
  GrammarBuilder builder(limits);
  const auto rule = builder.add_schema(schema, place);
  if (!rule) return rule.error();
  builder.add_rule("root", *rule);
  return SchemaGrammar{builder.text(), builder.notes()};
}

}  // namespace pensieve
