// The part of the OpenMP runtime that the engine's processor plug-ins use, on a Team.
//
// The engine opens one parallel region for each graph and has no other way to be told how its
// threads wait. Its plug-ins are loaded at run time and look these names up in the program first;
// so the program that exports them (apps/pensieve_worker) has them, and everyone else the
// compiler's own runtime. Names and meaning: GNU libgomp, "The libgomp ABI"; OpenMP 4.5.
#include <cstdlib>
#include <mutex>

#include "engine/threads/team.h"
#include "platform/cores.h"

namespace {

// One for the process, as the names are. Never destroyed: exit() may come while a job runs.
pensieve::Team& team() {
  static auto* const instance = new pensieve::Team;
  return *instance;
}

std::mutex& turn() {
  static auto* const instance = new std::mutex;
  return *instance;
}

thread_local bool inside = false;

}  // namespace

extern "C" {

void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned /*flags*/) {
  if (inside || pensieve::Team::size() > 1) return function(data);  // A region within a region: by the thread that opens it alone.
  const std::lock_guard lock(turn());
  inside = true;
  team().run(function, data, threads > 0 ? static_cast<int>(threads) : pensieve::usable_cores());
  inside = false;
}

void GOMP_barrier() { team().barrier(); }
bool GOMP_single_start() { return team().first(); }
int omp_get_thread_num() { return pensieve::Team::number(); }
int omp_get_num_threads() { return pensieve::Team::size(); }
}
