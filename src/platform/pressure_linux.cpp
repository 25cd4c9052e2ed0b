// PSI triggers: the kernel's Documentation/accounting/psi.rst.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <string_view>

#include "platform/control_groups.h"
#include "platform/memory.h"

namespace pensieve {
namespace {

// The first that the system grants: a tenth of half a second; else what it lets everybody ask for, windows of 2 s.
constexpr std::array<std::string_view, 2> kTriggers = {"some 50000 500000", "some 100000 2000000"};

PressureAlarm ask(const std::string& path) {
  for (const std::string_view trigger : kTriggers) {
    const int fd = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return {};
    // The terminating zero is part of it.
    if (::write(fd, trigger.data(), trigger.size() + 1) > 0) return {fd, path, std::string(trigger)};
    ::close(fd);
  }
  return {};
}

}  // namespace

std::vector<PressureAlarm> open_pressure_alarms() {
  std::vector<PressureAlarm> alarms;
  const auto add = [&](PressureAlarm alarm) {
    if (alarm.fd >= 0) alarms.push_back(std::move(alarm));
  };
  add(ask("/proc/pressure/memory"));
  const std::vector<ControlGroup> groups = own_groups();
  for (const ControlGroup& group : groups) {
    if (!group.version2) continue;
    add(ask(group.folder + "/memory.pressure"));
    break;  // Its own; those around it are not this process's to watch.
  }
  return alarms;
}

}  // namespace pensieve
