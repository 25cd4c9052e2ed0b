#include "chat/json_schema_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace pensieve {
using schema_rules::braces;
using schema_rules::either;
using schema_rules::find;
using Json = nlohmann::ordered_json;

namespace {

constexpr int kScaleDigits = 6;                     // Decimals of a number's bounds.
constexpr double kBoundMax = 1e12;

std::string digit_class(char first, char last) { return first == last ? fmt::format("\"{}\"", first) : fmt::format("[{}-{}]", first, last); }
std::string in_quotes(std::string_view digits) { return digits.empty() ? std::string() : fmt::format("\"{}\"", digits); }

// ---- ranges of numbers, as digits ----

// Numbers of one length from `low` to `high`, both of that length.
std::string digits_between(std::string_view low, std::string_view high) {
  std::size_t same = 0;
  while (same < low.size() && low[same] == high[same]) ++same;
  std::string head = in_quotes(low.substr(0, same));
  if (same == low.size()) return head;
  const std::size_t rest = low.size() - same - 1;
  const std::string_view low_rest = low.substr(same + 1);
  const std::string_view high_rest = high.substr(same + 1);
  const bool low_open = low_rest.find_first_not_of('0') == std::string_view::npos;
  const bool high_open = high_rest.find_first_not_of('9') == std::string_view::npos;
  char from = low[same];
  char to = high[same];
  std::vector<std::string> ways;
  if (!low_open) ways.push_back(in_quotes(std::string_view(&from, 1)) + " " + digits_between(low_rest, std::string(rest, '9'))), ++from;
  std::string last;
  if (!high_open) last = in_quotes(std::string_view(&to, 1)) + " " + digits_between(std::string(rest, '0'), high_rest), --to;
  if (from <= to) ways.push_back(digit_class(from, to) + (rest > 0 ? " [0-9]" + braces(static_cast<int>(rest), static_cast<int>(rest)) : ""));
  if (!last.empty()) ways.push_back(last);
  std::string body;
  for (const std::string& way : ways) body += (body.empty() ? "" : " | ") + way;
  if (ways.size() > 1 || !head.empty()) body = "(" + body + ")";
  return head.empty() ? body : head + " " + body;
}

// Whole numbers from `low` up to `high` (unset: no bound), none negative.
void whole_numbers(std::int64_t low, std::optional<std::int64_t> high, const std::string& before, std::vector<std::string>& ways) {
  if (high && low > *high) return;
  std::string from = std::to_string(low);
  while (true) {
    const std::string nines(from.size(), '9');
    const bool last = high && std::to_string(*high).size() == from.size();
    ways.push_back(before + digits_between(from, last ? std::to_string(*high) : nines));
    if (last) return;
    if (!high || from.size() >= 18) break;
    from = "1" + std::string(from.size(), '0');
  }
  ways.push_back(before + fmt::format("[1-9] [0-9]{{{},{}}}", from.size(), std::max<std::size_t>(from.size(), 15)));
}

constexpr const char* kMoreDigits = "[0-9]{0,12}";

// What may follow the first j digits of a fraction that are those of `bound`, so that the whole stays >= or <= it.
std::string fraction_least(const std::string& bound, std::size_t j) {
  if (bound.find_first_not_of('0', j) == std::string::npos) return j == 0 ? "[0-9]{1,12}" : kMoreDigits;
  std::string body = in_quotes(bound.substr(j, 1)) + " " + fraction_least(bound, j + 1);
  if (bound[j] < '9') body += " | " + digit_class(static_cast<char>(bound[j] + 1), '9') + " " + kMoreDigits;
  return "(" + body + ")";
}
std::string fraction_most(const std::string& bound, std::size_t j) {
  if (j == bound.size()) return "\"0\"{0,3}";
  std::string body = in_quotes(bound.substr(j, 1)) + " " + fraction_most(bound, j + 1);
  if (bound[j] > '0') body += " | " + digit_class('0', static_cast<char>(bound[j] - 1)) + " " + kMoreDigits;
  return "(" + body + ")" + (j == 0 ? "" : "?");
}
std::string fraction_between(const std::string& low, const std::string& high, std::size_t j) {
  if (j == low.size()) return "\"0\"{0,3}";
  if (low[j] == high[j]) {
    const bool may_end = j > 0 && low.find_first_not_of('0', j) == std::string::npos;
    const std::string body = in_quotes(low.substr(j, 1)) + " " + fraction_between(low, high, j + 1);
    return may_end ? "(" + body + ")?" : body;
  }
  std::string body = in_quotes(low.substr(j, 1)) + " " + fraction_least(low, j + 1) + " | " + in_quotes(high.substr(j, 1)) + " " + fraction_most(high, j + 1);
  if (low[j] + 1 < high[j]) body += " | " + digit_class(static_cast<char>(low[j] + 1), static_cast<char>(high[j] - 1)) + " " + kMoreDigits;
  const bool may_end = j > 0 && low.find_first_not_of('0', j) == std::string::npos;
  return "(" + body + ")" + (may_end ? "?" : "");
}

// Numbers from low to high in millionths, none negative, written with a point.
void decimal_numbers(std::int64_t low, std::optional<std::int64_t> high, const std::string& before, std::vector<std::string>& ways) {
  if (high && low > *high) return;
  constexpr std::int64_t kScale = 1000000;
  const auto fraction = [](std::int64_t value) { return fmt::format("{:0{}}", value % kScale, kScaleDigits); };
  const std::int64_t first = low / kScale;
  const std::string low_text = before + in_quotes(std::to_string(first)) + " \".\" ";
  if (high && *high / kScale == first) {
    ways.push_back(low_text + fraction_between(fraction(low), fraction(*high), 0));
    return;
  }
  ways.push_back(low_text + fraction_least(fraction(low), 0));
  std::vector<std::string> between;
  whole_numbers(first + 1, high ? std::optional(*high / kScale - 1) : std::nullopt, before, between);
  for (const std::string& way : between) ways.push_back(way + " \".\" [0-9]{1,12}");
  if (high) ways.push_back(before + in_quotes(std::to_string(*high / kScale)) + " \".\" " + fraction_most(fraction(*high), 0));
}

}  // namespace

// ---- what a schema says of a number ----

Result<SchemaRules::Bounds> SchemaRules::bounds_of(const Json& schema, const Place& place) {
  Bounds bounds;
  const auto read = [&](const char* word) -> Result<std::optional<double>> {
    const Json* value = find(schema, word);
    if (value == nullptr || value->is_boolean()) return std::optional<double>();  // Booleans: draft 4's way, below.
    if (!value->is_number()) return wrong(place, fmt::format("{} must be a number", word));
    return std::optional(value->get<double>());
  };
  const auto low = read("minimum");
  const auto low_open = read("exclusiveMinimum");
  const auto high = read("maximum");
  const auto high_open = read("exclusiveMaximum");
  for (const auto* each : {&low, &low_open, &high, &high_open}) {
    if (!*each) return each->error();
  }
  const auto draft4 = [&](const char* word) {
    const Json* value = find(schema, word);
    return value != nullptr && value->is_boolean() && value->get<bool>();
  };
  bounds.low = *low;
  bounds.low_open = draft4("exclusiveMinimum");
  if (*low_open && (!bounds.low || **low_open >= *bounds.low)) bounds.low = *low_open, bounds.low_open = true;
  bounds.high = *high;
  bounds.high_open = draft4("exclusiveMaximum");
  if (*high_open && (!bounds.high || **high_open <= *bounds.high)) bounds.high = *high_open, bounds.high_open = true;
  for (std::optional<double>* bound : {&bounds.low, &bounds.high}) {
    if (*bound && std::abs(**bound) > kBoundMax) {
      note(place, "bounds beyond 1e12 are not enforced while generating");
      bound->reset();
    }
  }
  return bounds;
}

Result<std::string> SchemaRules::number(const Json& schema, bool whole, const Place& place) {
  if (const Json* step = find(schema, "multipleOf"); step != nullptr && step->is_number()) {
    if (*step == 1) whole = true;
    else note(place, "multipleOf is not enforced while generating");
  }
  const auto read = bounds_of(schema, place);
  if (!read) return read.error();
  const Bounds& bounds = *read;
  if (!bounds.low && !bounds.high) return use(whole ? "j-integer" : "j-number");

  // Whole numbers, then (for "number") those with a point, each as its positive and its negative half.
  std::vector<std::string> ways;
  const auto scaled = [](const std::optional<double>& bound, bool open, bool is_low, double scale) -> std::optional<std::int64_t> {
    if (!bound) return std::nullopt;
    const double exact = *bound * scale;
    const double near = std::round(exact);
    const bool whole_bound = std::abs(exact - near) < 1e-6 * std::max(1.0, std::abs(exact) * 1e-9);
    if (whole_bound) return static_cast<std::int64_t>(near) + (open ? (is_low ? 1 : -1) : 0);
    return static_cast<std::int64_t>(is_low ? std::ceil(exact) : std::floor(exact));
  };
  const auto both_halves = [&](double scale, auto&& halves) {
    const auto low = scaled(bounds.low, bounds.low_open, true, scale);
    const auto high = scaled(bounds.high, bounds.high_open, false, scale);
    if (!high || *high >= 0) halves(std::max<std::int64_t>(0, low.value_or(0)), high, std::string());
    const std::int64_t first_negative = high ? std::max<std::int64_t>(1, -*high) : 1;
    if (!low || -*low >= first_negative) halves(first_negative, low ? std::optional(-*low) : std::nullopt, std::string("\"-\" "));
  };
  both_halves(1, [&](std::int64_t low, std::optional<std::int64_t> high, const std::string& sign) { whole_numbers(low, high, sign, ways); });
  if (!whole) both_halves(1e6, [&](std::int64_t low, std::optional<std::int64_t> high, const std::string& sign) { decimal_numbers(low, high, sign, ways); });
  return either(ways);
}

}  // namespace pensieve
