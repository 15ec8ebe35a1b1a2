#include "base/sha256.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/files.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using testing::TemporaryFolder;

// Examples of FIPS 180-4's companion document.
constexpr std::string_view kOfAbc =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr std::string_view kOfNothing =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(Sha256, GivesTheDigestsOfTheStandard) {
  Sha256 hash;
  hash.update("abc");
  EXPECT_EQ(hash.finish(), kOfAbc);
  EXPECT_EQ(Sha256().finish(), kOfNothing);
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  Sha256 hash;
  hash.update("a");
  hash.update("");
  hash.update("bc");
  Sha256 moved = std::move(hash);
  EXPECT_EQ(moved.finish(), kOfAbc);
}

TEST(Sha256File, ReadsAllOfTheFileAndSaysHowFarItIs) {
  const TemporaryFolder folder;
  const std::string content(20 * kMiB + 3, 'x');
  ASSERT_TRUE(write_file(folder / "big", content));
  std::vector<std::pair<Bytes, Bytes>> seen;
  const auto digest = sha256_file(folder / "big", [&](Bytes done, Bytes total) {
    seen.emplace_back(done, total);
    return true;
  });
  ASSERT_TRUE(digest) << digest.error().message;
  Sha256 expected;
  expected.update(content);
  EXPECT_EQ(*digest, expected.finish());
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(seen.front(), std::pair(8 * kMiB, Bytes{content.size()}));
  EXPECT_EQ(seen.back(), std::pair(Bytes{content.size()}, Bytes{content.size()}));
}

TEST(Sha256File, EndsWhenToldTo) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file(folder / "f", "abc"));
  const auto digest = sha256_file(folder / "f", [](Bytes, Bytes) { return false; });
  ASSERT_FALSE(digest);
  EXPECT_EQ(digest.error().code, ErrorCode::kCancelled);
}

TEST(Sha256File, NamesTheFileThatIsNotThere) {
  const auto digest = sha256_file("/nowhere/at/all");
  ASSERT_FALSE(digest);
  EXPECT_EQ(digest.error().code, ErrorCode::kNotFound);
  EXPECT_NE(digest.error().message.find("/nowhere/at/all"), std::string::npos);
}

}  // namespace
}  // namespace gogrid
