// Stands in for the engine's function of this name, which sets a buffer to one value byte by byte on one core: the KV
// cache at each start, before anything else. The program's functions are found before those of its libraries.
// What it is not for goes to the engine's own.
#include <dlfcn.h>
#include <ggml-backend.h>

#include <cstdint>
#include <string_view>

#include "engine/zeros/fresh_pages.h"

extern "C" void ggml_backend_buffer_clear(ggml_backend_buffer_t buffer, std::uint8_t value) {
  // Plain memory of this process; what a device shares with it may be pinned.
  const bool plain = std::string_view(ggml_backend_buft_name(ggml_backend_buffer_get_type(buffer))) == "CPU";
  auto* const base = static_cast<std::byte*>(ggml_backend_buffer_get_base(buffer));
  if (value == 0 && plain && base != nullptr && pensieve::zero_by_fresh_pages({base, ggml_backend_buffer_get_size(buffer)})) return;
  using Clear = void (*)(ggml_backend_buffer_t, std::uint8_t);
  static const auto engines_own = reinterpret_cast<Clear>(::dlsym(RTLD_NEXT, "ggml_backend_buffer_clear"));
  engines_own(buffer, value);
}
