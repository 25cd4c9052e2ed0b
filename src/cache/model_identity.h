// Which model a file holds: a checksum over all of it. Taken once for each file and
// remembered in the store's folder under what the system says of the file (device,
// inode, size, times of change), for reading 20 GB takes its time.
//
//   Threads  any.
//   Errors   those of reading the file. What cannot be remembered is computed again.
#pragma once

#include <functional>
#include <string>

#include "cache/block_key.h"
#include "platform/files.h"

namespace pensieve {

Result<BlockKey> model_identity(Files& files, const std::string& model_path, const std::string& store_folder);

}  // namespace pensieve
