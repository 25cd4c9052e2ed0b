#include "worker/last_word.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>

namespace pensieve {
namespace {

std::atomic<WirePort*> the_port = nullptr;
std::atomic_flag said = ATOMIC_FLAG_INIT;

// A line put together in place. What JSON would have to escape is left out, what does not fit is cut.
class Line {
 public:
  void raw(std::string_view text) {
    for (const char c : text.substr(0, bytes_.size() - length_)) bytes_[length_++] = c;
  }
  void words(std::string_view text) {
    for (const char c : text) {
      if (length_ + 4 < bytes_.size() && c != '"' && c != '\\' && c >= ' ' && c < 127) bytes_[length_++] = c;
    }
  }
  std::string_view text() const { return {bytes_.data(), length_}; }

 private:
  std::array<char, 512> bytes_{};
  std::size_t length_ = 0;
};

void say(std::string_view why) {
  Line log, word;
  log.raw("worker: the end: ");
  log.words(why);
  log.raw("\n");
  (void)!::write(STDERR_FILENO, log.text().data(), log.text().size());
  word.raw(R"({"event":"fatal","code":"overloaded","message":")");
  word.words(why);
  word.raw("\"}\n");
  if (WirePort* const port = the_port.load(); port != nullptr)
    port->send_last(word.text());
  else
    (void)!::write(STDOUT_FILENO, word.text().data(), word.text().size());
}

[[noreturn]] void end_out_of_memory() { end_with(kOutOfMemory); }

[[noreturn]] void end_uncaught() {
  const std::exception_ptr thrown = std::current_exception();
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    end_out_of_memory();
  } catch (const std::system_error& error) {
    // A thread that cannot be made: its stack counts against the cap.
    if (error.code() == std::errc::resource_unavailable_try_again || error.code() == std::errc::not_enough_memory)
      end_out_of_memory();
    end_with(error.what());
  } catch (const std::exception& error) {
    end_with(error.what());
  } catch (...) {
  }
  end_with("an exception that nobody caught");
}

// The OpenMP library leaves so when it can make no thread, or gets no memory.
void ended_by_a_library() {
  if (!said.test_and_set())
    say("a library ended the model process; its last lines in the log say why (most likely its memory cap)");
}

// abort() by a library: an assertion, or glibc when it cannot note a destructor of a thread's variable.
void ended_by_abort(int signal) {
  if (!said.test_and_set()) say("the model process aborted; its last lines in the log say why (perhaps its memory cap)");
  std::signal(signal, SIG_DFL);  // And abort() goes on.
}

}  // namespace

void end_with(std::string_view why) {
  // One thread says it; another that fails meanwhile waits for the end.
  if (said.test_and_set()) {
    while (true) ::pause();
  }
  say(why);
  std::_Exit(1);
}

void end_with_last_words() {
  std::set_new_handler(end_out_of_memory);
  std::set_terminate(end_uncaught);
  std::atexit(ended_by_a_library);
  std::signal(SIGABRT, ended_by_abort);
}

void speak_last_words_on(WirePort& port) { the_port = &port; }
void no_last_words() { said.test_and_set(); }

}  // namespace pensieve
