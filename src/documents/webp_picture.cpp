#include "documents/webp_picture.h"

#include <fmt/format.h>

#include "base/utf8.h"
#include "core/webp.h"
#include "documents/bounded_run.h"

namespace pensieve {
namespace {

Error bad(std::string why) { return {ErrorCode::invalid_argument, std::move(why)}; }

}  // namespace

Result<std::string> png_of_webp(std::string_view webp, const WebpOptions& options) {
  if (!is_webp(webp)) return bad("this image is not WebP");
  const std::string program = options.program.empty() ? find_on_path("dwebp") : options.program;
  if (program.empty()) return Error{ErrorCode::unavailable, "this image is WebP, and cannot be read: dwebp is not installed on the server's machine (Debian, Ubuntu: apt install webp; macOS: brew install webp)"};
  BoundedRun run;
  run.argv = {program, "-quiet", "-o", "-", "--", "-"};
  run.limits = {options.data_bytes_max, static_cast<std::uint64_t>(options.wall_max.count() / 1000 + 1), true};
  run.wall_max = options.wall_max;
  run.output_bytes_max = options.bytes_max;
  auto outcome = run_bounded(run, webp);
  if (!outcome) return std::move(outcome).error();
  if (outcome->out_of_time) return bad(fmt::format("this image was not decoded within {} s", options.wall_max.count() / 1000));
  if (outcome->too_much) return bad(fmt::format("this image has more than {} bytes as PNG", options.bytes_max));
  if (outcome->ended != "exit code 0" || !outcome->out.starts_with("\x89PNG")) {
    const bool memory = outcome->err.find("OUT_OF_MEMORY") != std::string::npos;
    if (memory) return bad(fmt::format("this image takes more than {} MiB to decode", options.data_bytes_max >> 20));
    return bad(fmt::format("this image is damaged: dwebp ended with {}, {}", outcome->ended, utf8_sanitise(outcome->err.substr(0, 120))));
  }
  return std::move(outcome->out);
}

}  // namespace pensieve
