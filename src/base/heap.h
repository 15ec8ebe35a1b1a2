// The process's heap.
#pragma once

namespace gogrid {

// Gives the system back what the allocator keeps for later: after something large was freed. Takes
// milliseconds; thread-safe. Does nothing where the C library cannot (other than glibc).
void trim_heap();

}  // namespace gogrid
