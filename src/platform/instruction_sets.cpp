#include "platform/instruction_sets.h"

#include <cstdlib>
#include <string_view>

#include "base/log.h"

namespace pensieve {
namespace {

enum class Wish { all, avx2, none };

Wish read_wish() {
  const char* set = std::getenv("PENSIEVE_KERNELS");
  const std::string_view wish = set == nullptr ? "" : set;
  if (wish == "avx2") return Wish::avx2;
  if (wish == "none") return Wish::none;
  if (!wish.empty() && wish != "avx512") log::warn("PENSIEVE_KERNELS: '{}' is none of avx512, avx2 and none; all kernels are used", wish);
  return Wish::all;
}

}  // namespace

bool kernels_may_use(InstructionSet set) {
  static const Wish wish = read_wish();
  return wish == Wish::all || (wish == Wish::avx2 && set == InstructionSet::avx2);
}

}  // namespace pensieve
