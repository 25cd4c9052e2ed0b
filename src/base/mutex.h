// A mutex that clang's thread-safety analysis understands (make tidy runs it).
// Shared state sits behind one of these with GUARDED_BY; no lock is held while
// calling out.
#pragma once

#include <mutex>

#if defined(__clang__)
#define PENSIEVE_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define PENSIEVE_THREAD_ANNOTATION(x)
#endif
#define GUARDED_BY(x) PENSIEVE_THREAD_ANNOTATION(guarded_by(x))
#define REQUIRES(x) PENSIEVE_THREAD_ANNOTATION(requires_capability(x))

namespace pensieve {

class PENSIEVE_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void lock() PENSIEVE_THREAD_ANNOTATION(acquire_capability()) { mutex_.lock(); }
  bool try_lock() PENSIEVE_THREAD_ANNOTATION(try_acquire_capability(true)) { return mutex_.try_lock(); }
  void unlock() PENSIEVE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class PENSIEVE_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) PENSIEVE_THREAD_ANNOTATION(acquire_capability(mutex)) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() PENSIEVE_THREAD_ANNOTATION(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace pensieve
