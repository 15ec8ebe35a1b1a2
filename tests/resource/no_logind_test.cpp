#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resource/owner_presence.h"
#include "support/manual_clock.h"

namespace gogrid {
namespace {

TEST(NoLogind, SaysUnsupportedAndTheOptionOfTheBuild) {
  const testing::ManualClock clock;
  const auto presence = OwnerPresence::start(OwnerPresenceOptions(), clock);
  ASSERT_FALSE(presence);
  EXPECT_EQ(presence.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(presence.error().message, ::testing::HasSubstr("GOGRID_LOGIND"));
}

}  // namespace
}  // namespace gogrid
