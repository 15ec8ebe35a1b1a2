#include "resource/local_zone.h"

#include <stdexcept>
#include <string>
#include <string_view>

namespace gogrid {
namespace {

std::string_view zone_name(std::string_view written) {
  constexpr std::string_view kFolder = "/zoneinfo/";
  if (written.starts_with(':')) written.remove_prefix(1);
  if (written.empty()) return "UTC";  // as the C library takes it
  const auto folder = written.find(kFolder);
  if (written.starts_with('/') && folder != std::string_view::npos)
    written.remove_prefix(folder + kFolder.size());
  return written;
}

Result<const std::chrono::time_zone*> zone_called(const std::chrono::tzdb& data,
                                                  std::string_view written) {
  try {
    return data.locate_zone(zone_name(written));
  } catch (const std::runtime_error&) {
    return fail(ErrorCode::kInvalidArgument,
                "[local_zone] TZ: expected the name of a time zone, as Europe/Berlin: '" +
                    std::string(written.substr(0, 60)) + "'",
                "TZ");
  }
}

}  // namespace

Result<const std::chrono::time_zone*> local_zone(const char* tz_variable) {
  try {
    const std::chrono::tzdb& data = std::chrono::get_tzdb();
    return tz_variable != nullptr ? zone_called(data, tz_variable) : data.current_zone();
  } catch (const std::runtime_error& error) {
    return fail(
        ErrorCode::kUnsupported,
        std::string("[local_zone] expected time zone data (package tzdata): ") + error.what());
  }
}

}  // namespace gogrid
