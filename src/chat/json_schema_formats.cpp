#include "chat/json_schema_formats.h"

#include <array>
#include <utility>

namespace pensieve {
namespace {

// Every month with its own last day, so that each date exists. 29 February is left out: its year would have to be known.
#define PENSIEVE_DATE "[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
#define PENSIEVE_TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define PENSIEVE_OCTET "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define PENSIEVE_LABEL "[a-zA-Z0-9]([a-zA-Z0-9-]{0,30}[a-zA-Z0-9])?"

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kFormats = {{
    {"date", "^" PENSIEVE_DATE "$"},
    {"time", "^" PENSIEVE_TIME "$"},
    {"date-time", "^" PENSIEVE_DATE "T" PENSIEVE_TIME "$"},
    {"duration", "^P([0-9]{1,4}W|([0-9]{1,4}D)(T[0-9]{1,4}[HMS])?|T[0-9]{1,4}[HMS])$"},
    {"uuid", "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"},
    {"email", "^[a-zA-Z0-9_+-]{1,32}(\\.[a-zA-Z0-9_+-]{1,32}){0,3}@" PENSIEVE_LABEL "(\\." PENSIEVE_LABEL "){1,4}$"},
    {"hostname", "^" PENSIEVE_LABEL "(\\." PENSIEVE_LABEL "){0,4}$"},
    {"ipv4", "^" PENSIEVE_OCTET "(\\." PENSIEVE_OCTET "){3}$"},
    {"uri", "^[a-zA-Z][a-zA-Z0-9+.-]{0,20}:[A-Za-z0-9._~:/?#@!$&'()*+,;=%\\[\\]-]+$"},
}};

}  // namespace

std::string_view pattern_of_format(std::string_view format) {
  for (const auto& [name, pattern] : kFormats) {
    if (name == format) return pattern;
  }
  return {};
}

}  // namespace pensieve
