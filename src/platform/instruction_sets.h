// Which of the processor's instruction sets our kernels (engine/attention, engine/products) may use: all of them, or fewer by the
// environment variable PENSIEVE_KERNELS, which server and worker share: "avx512" (all), "avx2" (no newer ones), "none" (the engine's own
// kernels do everything). For tests on a newer processor, and for a user who suspects one of them.
//
//   Threads  any, while nothing sets environment variables.
#pragma once

namespace pensieve {

enum class InstructionSet { avx2, avx512 };

// Any other value of the variable: all, with a warning in the log, once.
bool kernels_may_use(InstructionSet set);

}  // namespace pensieve
