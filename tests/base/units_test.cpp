#include "base/units.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace gogrid {
namespace {

constexpr Bytes kMax = std::numeric_limits<Bytes>::max();

TEST(CheckedArithmetic, AnswersEmptyInsteadOfWrapping) {
  EXPECT_EQ(checked_add(kMax, 0), kMax);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_mul(Bytes{1} << 32, Bytes{1} << 31), Bytes{1} << 63);
  EXPECT_EQ(checked_mul(Bytes{1} << 32, Bytes{1} << 32), std::nullopt);
}

TEST(AlignUp, RoundsToTheNextMultiple) {
  EXPECT_EQ(align_up(0, 32), 0U);
  EXPECT_EQ(align_up(1, 32), 32U);
  EXPECT_EQ(align_up(32, 32), 32U);
  EXPECT_EQ(align_up(kMax, 32), std::nullopt);
}

TEST(ParseBytes, ReadsSizesExactly) {
  const std::pair<const char*, Bytes> expected[] = {{"0", 0},
                                                    {"1024", 1024},
                                                    {"12B", 12},
                                                    {"512MiB", 512 * kMiB},
                                                    {"8GiB", 8 * kGiB},
                                                    {"1TiB", 1024 * kGiB},
                                                    {"0.1KiB", 102},
                                                    {"1.5GiB", kGiB + 512 * kMiB},
                                                    {"18446744073709551615", kMax}};
  for (const auto& [text, bytes] : expected) EXPECT_EQ(parse_bytes(text), bytes) << text;
}

TEST(ParseBytes, RefusesEverythingElseAndNamesIt) {
  for (const char* text :
       {"", "GiB", "-1", "+1", " 1", "1 GiB", "8GB", "8gib", "1.GiB", "1..5GiB", "1.5.5GiB", "0x10",
        "18446744073709551616", "16777216TiB", "1e3", "inf", "nan", "1.0000000001GiB"}) {
    const auto result = parse_bytes(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(result.error().message.find("'" + std::string(text) + "'"), std::string::npos);
  }
}

TEST(FormatBytes, ReadsWell) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(kKiB), "1.0 KiB");
  EXPECT_EQ(format_bytes(8 * kGiB), "8.0 GiB");
  EXPECT_EQ(format_bytes(98'362'432), "93.8 MiB");
}

}  // namespace
}  // namespace gogrid
