// What the dialects of the API answer alike when they say no. What differs is in
// their own errors.cpp.
//
//   Threads  any: pure functions.
#pragma once

#include "base/result.h"

namespace pensieve {

// `overloaded`: the dialect's status for "no room now".
int http_status_of(ErrorCode code, int overloaded);

// Kinds of errors that go by the same name everywhere; nullptr: the dialect has one of its own.
const char* common_error_type(int status);

}  // namespace pensieve
