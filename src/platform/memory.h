// What memory processes use and what the machine has left.
//
//   Units    bytes. PSS: each shared page counted in equal parts by those who
//            share it, so that a tree's sum counts every page once.
//   Errors   a figure that the system does not tell is nullopt.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

namespace pensieve {

struct ProcessMemory {
  std::uint64_t pss_bytes = 0;
  std::uint64_t anonymous_bytes = 0;  // Of these: heap, KV cache, buffers.
  std::uint64_t file_bytes = 0;       // Of these: mapped files, such as weights; the system may take them back.
};

std::optional<ProcessMemory> process_memory(pid_t pid);
std::optional<std::uint64_t> available_memory_bytes();

}  // namespace pensieve
