// CHECK(condition, "what was promised"): a promise of our own that was broken.
// On in release too. The process says which promise and dies; its parent starts
// it again. Nothing that a client sends may reach one.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace pensieve {
[[noreturn]] inline void check_failed(const char* file, int line, const char* condition, const char* why) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: %s\n", file, line, condition, why);
  std::fflush(stderr);
  std::abort();
}
}  // namespace pensieve

#define CHECK(condition, why)                                                      \
  do {                                                                             \
    if (!(condition)) ::pensieve::check_failed(__FILE__, __LINE__, #condition, why); \
  } while (false)
