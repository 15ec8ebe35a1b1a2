// Writing to the disk beside other work.
#pragma once

#include "base/units.h"

namespace gogrid {

// Has the disk begin with what is written of an open file from `from` on: the sync at the end then
// has little left to wait for. Only a saving of time; does nothing where the kernel has no such
// call. Thread-safe.
void begin_to_sync(int descriptor, Bytes from = 0);

}  // namespace gogrid
