#include "resource/local_zone.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

TEST(LocalZone, IsTheOneThatTheEnvironmentNames) {
  for (const char* tz : {"Europe/Berlin", ":Europe/Berlin", "/usr/share/zoneinfo/Europe/Berlin",
                         ":/usr/share/zoneinfo/Europe/Berlin"}) {
    const auto zone = local_zone(tz);
    ASSERT_TRUE(zone) << zone.error().message;
    EXPECT_EQ((*zone)->name(), "Europe/Berlin") << tz;
  }
}

TEST(LocalZone, IsUtcForAnEmptyVariable) {
  for (const char* tz : {"", ":"}) {
    const auto zone = local_zone(tz);
    ASSERT_TRUE(zone) << zone.error().message;
    const auto winter = std::chrono::sys_days(std::chrono::January / 1 / 2026);
    const auto summer = std::chrono::sys_days(std::chrono::July / 1 / 2026);
    EXPECT_EQ((*zone)->get_info(winter).offset, std::chrono::seconds(0));
    EXPECT_EQ((*zone)->get_info(summer).offset, std::chrono::seconds(0));
  }
}

TEST(LocalZone, IsTheMachinesOwnWithoutTheVariable) {
  const auto zone = local_zone(nullptr);
  ASSERT_TRUE(zone) << zone.error().message;
  EXPECT_EQ(*zone, std::chrono::current_zone());
}

TEST(LocalZone, RefusesWhatNamesNoZone) {
  for (const char* tz :
       {"Europe/Atlantis", "CET-1CEST,M3.5.0,M10.5.0/3", "../../etc/passwd", "/"}) {
    const auto zone = local_zone(tz);
    ASSERT_FALSE(zone) << tz;
    EXPECT_EQ(zone.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(zone.error().message,
              "[local_zone] TZ: expected the name of a time zone, as Europe/Berlin: '" +
                  std::string(tz) + "'");
  }
}

}  // namespace
}  // namespace gogrid
