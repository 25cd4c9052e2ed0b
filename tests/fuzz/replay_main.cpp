// Runs a fuzz target without libFuzzer: every file of the given folders as it is,
// then mutations of each. The same mutations on every run: no clock, no entropy.
//
//   usage   fuzz_NAME FOLDER...     FUZZ_MUTATIONS: of each file (200)
//
// Before a failing input kills the process, its name and number are printed, and
// the input is written to the file that FUZZ_SAVE names, if it is set.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "fuzz.h"

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kInputBytesMax = 64u << 10;

std::string running_file;
int running_mutation = 0;
std::string running_input;

extern "C" void on_death(int signal) {
  std::fprintf(stderr, "fuzz: died of signal %d on %s, mutation %d (%zu bytes)\n", signal, running_file.c_str(), running_mutation,
               running_input.size());
  if (const char* path = std::getenv("FUZZ_SAVE")) {
    std::ofstream(path, std::ios::binary).write(running_input.data(), static_cast<std::streamsize>(running_input.size()));
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// A copy of exactly its size, so that AddressSanitizer sees the first byte read beyond it.
void run(const std::string& file, int mutation, const std::string& input) {
  running_file = file;
  running_mutation = mutation;
  running_input = input;
  const auto bytes = std::make_unique<std::uint8_t[]>(input.size());
  std::copy(input.begin(), input.end(), bytes.get());
  LLVMFuzzerTestOneInput(bytes.get(), input.size());
}

class Mutator {
 public:
  Mutator(std::uint32_t seed, const std::vector<std::string>& seeds) : random_(seed), seeds_(seeds) {}

  void change(std::string& input) {
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) change_once(input);
    if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
  }

 private:
  std::size_t below(std::size_t bound) { return bound == 0 ? 0 : random_() % bound; }

  void change_once(std::string& input) {
    const std::size_t at = below(input.size() + 1);
    const std::size_t rest = input.size() - at;
    switch (below(8)) {
      case 0:  // A bit flips.
        if (rest > 0) input[at] = static_cast<char>(static_cast<unsigned char>(input[at]) ^ (1u << below(8)));
        break;
      case 1:  // A byte becomes another.
        if (rest > 0) input[at] = static_cast<char>(below(256));
        break;
      case 2: input.insert(at, 1, static_cast<char>(below(256))); break;
      case 3: input.erase(at, 1 + below(16)); break;
      case 4: input.resize(at); break;  // Cut short.
      case 5: {                         // A part twice.
        const std::string part = input.substr(at, 1 + below(32));
        input.insert(below(input.size() + 1), part);
        break;
      }
      case 6: {  // What has a meaning here or there.
        static const std::vector<std::string> words = {"{",  "}",    "[",     "]",  "\"", "\\u0000", "\\ud800", "null", "true", "-1", "1e999", "18446744073709551615",
                                                       ",",  ":",    "\xff",  "\n", "<|", "|>",      "</",      "$ref", "^",    "(",  "{9999}", std::string(8, '\xff'),
                                                       "{}", "[[[[", "\xe2\x82", "<think>", "</think>", std::string(4, '\0')};
        input.insert(at, words[below(words.size())]);
        break;
      }
      default: {  // A part of another file.
        const std::string& other = seeds_[below(seeds_.size())];
        const std::size_t from = below(other.size() + 1);
        input.replace(at, below(std::min<std::size_t>(rest, 32) + 1), other.substr(from, 1 + below(64)));
      }
    }
  }

  std::mt19937 random_;
  const std::vector<std::string>& seeds_;
};

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> names;
  for (int i = 1; i < count; ++i) {
    if (!fs::is_directory(arguments[i])) {
      names.emplace_back(arguments[i]);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(arguments[i])) names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  std::vector<std::string> seeds;
  for (const std::string& name : names) {
    std::ifstream in(name, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    if (!in) names.clear();
  }
  if (names.empty()) {
    std::fprintf(stderr, "fuzz: no readable corpus; give its folder\n");
    return 2;
  }
  const char* wanted = std::getenv("FUZZ_MUTATIONS");
  const int mutations = wanted != nullptr ? std::atoi(wanted) : 200;
  for (const int signal : {SIGABRT, SIGSEGV, SIGFPE, SIGILL, SIGBUS}) std::signal(signal, on_death);
  run("nothing", 0, "");
  for (std::size_t i = 0; i < seeds.size(); ++i) {
    run(names[i], 0, seeds[i]);
    Mutator mutator(static_cast<std::uint32_t>(i + 1), seeds);
    for (int mutation = 1; mutation <= mutations; ++mutation) {
      std::string input = seeds[i];
      mutator.change(input);
      run(names[i], mutation, input);
    }
  }
  std::printf("fuzz: %zu files, %d mutations of each\n", seeds.size(), mutations);
  return 0;
}
