// What every fuzz target is: one function of bytes that returns, whatever they are.
// A target says what must be true of them with CHECK; the sanitizers say the rest.
//
// With PENSIEVE_FUZZ libFuzzer drives it (`make fuzz`). Otherwise replay_main.cpp
// does: every file of the target's corpus and some mutations of each, in ctest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace pensieve {
inline std::string_view view_of(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }
}  // namespace pensieve
