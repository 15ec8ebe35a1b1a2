// Systems whose priorities are not known here.
#include <sys/utsname.h>

#include <string>

#include "resource/priority_system.h"

namespace gogrid {

Result<std::unique_ptr<PrioritySystem>> no_priority_system(std::string_view system) {
  return fail(ErrorCode::kUnsupported,
              "[priority] nice, I/O class, scheduling policy, timer slack and OOM score are set on "
              "Linux only: this is " +
                  std::string(system));
}

#if !defined(__linux__)
Result<std::unique_ptr<PrioritySystem>> host_priority_system() {
  struct utsname names{};
  return no_priority_system(::uname(&names) >= 0 ? names.sysname : "an unknown system");
}
#endif

}  // namespace gogrid
