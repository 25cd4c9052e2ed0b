// To be preloaded into a worker: from SIGUSR1 on its allocations are counted, and the
// one whose number stands in the file PENSIEVE_FAIL_MALLOC is refused, as are all
// after it: memory that ran out stays out. 0: none; then the count so far is
// written into PENSIEVE_FAIL_MALLOC ".count" at the next SIGUSR1.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

namespace {

std::atomic<bool> armed = false;
std::atomic<long> count = 0;
std::atomic<long> fail_at = 0;

bool refused() {
  if (!armed.load(std::memory_order_relaxed)) return false;
  const long number = count.fetch_add(1, std::memory_order_relaxed) + 1;
  const long limit = fail_at.load(std::memory_order_relaxed);
  if (limit == 0 || number < limit) return false;
  errno = ENOMEM;
  return true;
}

// Only calls that a signal handler may make.
void arm(int) {
  const int error = errno;
  const char* path = std::getenv("PENSIEVE_FAIL_MALLOC");
  char text[4096] = {};
  if (armed.exchange(true)) {
    std::strncpy(text, path, sizeof text - 8);
    std::strcat(text, ".count");
    char digits[24] = {};
    std::size_t at = sizeof digits - 1;
    for (long rest = count.load(); at > 0 && (rest > 0 || digits[at] == 0); rest /= 10)
      digits[--at] = static_cast<char>('0' + rest % 10);
    const int file = ::open(text, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    (void)!::write(file, digits + at, sizeof digits - 1 - at);
    ::close(file);
  } else if (const int file = ::open(path, O_RDONLY); file >= 0) {
    (void)!::read(file, text, sizeof text - 1);
    ::close(file);
    count = 0;
    fail_at = std::strtol(text, nullptr, 10);
  }
  errno = error;
}

struct Install {
  Install() {
    if (std::getenv("PENSIEVE_FAIL_MALLOC") != nullptr) ::signal(SIGUSR1, arm);
  }
} const install;

}  // namespace

extern "C" {
void* malloc(std::size_t size) { return refused() ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t number, std::size_t size) { return refused() ? nullptr : __libc_calloc(number, size); }
void* realloc(void* old, std::size_t size) { return refused() ? nullptr : __libc_realloc(old, size); }
void* memalign(std::size_t alignment, std::size_t size) {
  return refused() ? nullptr : __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return refused() ? nullptr : __libc_memalign(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  void* memory = refused() ? nullptr : __libc_memalign(alignment, size);
  if (memory == nullptr) return ENOMEM;
  *out = memory;
  return 0;
}
}
