// The lines between server and worker. What parses is written and read again as the same.
#include "base/check.h"
#include "fuzz.h"
#include "wire/frames.h"

using namespace pensieve;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line = view_of(data, size);
  if (const Result<wire::Command> command = wire::parse_command(line)) {
    const std::string written = wire::encode(*command);
    CHECK(written.find('\n') == written.size() - 1, "a command is one line");
    const Result<wire::Command> back = wire::parse_command(written);
    CHECK(back.ok(), "a command that was read can be written and read");
    CHECK(*back == *command, "a command comes back as it was");
  } else {
    CHECK(!command.error().message.empty(), "an error says what is wrong");
  }
  if (const Result<wire::Report> report = wire::parse_report(line)) {
    const std::string written = wire::encode(*report);
    CHECK(written.find('\n') == written.size() - 1, "a report is one line");
    const Result<wire::Report> back = wire::parse_report(written);
    CHECK(back.ok(), "a report that was read can be written and read");
    CHECK(wire::encode(*back) == written, "a report comes back as it was");
  }
  return 0;
}
