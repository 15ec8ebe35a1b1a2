#include "base/disk_sync.h"

#include <fcntl.h>

namespace gogrid {

void begin_to_sync([[maybe_unused]] int descriptor, [[maybe_unused]] Bytes from) {
#ifdef SYNC_FILE_RANGE_WRITE
  // A length of 0: to the end.
  static_cast<void>(
      ::sync_file_range(descriptor, static_cast<off_t>(from), 0, SYNC_FILE_RANGE_WRITE));
#endif
}

}  // namespace gogrid
