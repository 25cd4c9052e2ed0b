// Where the file lies that makes a model see, if nobody says: beside the model, by name.
// For NAME.gguf: mmproj-NAME.gguf, NAME-mmproj.gguf or NAME.mmproj.gguf; or, in a folder
// of that one model, the only file whose name has "mmproj" in it.
//
//   Threads  any.
#pragma once

#include <string>

namespace pensieve {

std::string projector_beside(const std::string& model_path);  // Empty: there is none.

}  // namespace pensieve
