// Where computed prompts are kept (src/cache): --store, or the user's cache folder.
#pragma once

#include <string>

#include "settings/settings.h"

namespace pensieve {

// Empty: --store off, or there is no home to keep it in.
std::string store_folder(const Settings& settings);
std::string default_store_folder();

}  // namespace pensieve
