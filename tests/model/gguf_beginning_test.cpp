#include "model/gguf_beginning.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "support/gguf_builder.h"
#include "support/temporary_folder.h"

namespace gogrid {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

std::string model() {
  GgufBuilder builder;
  builder.key_text("general.architecture", "toy").key_text("general.license", "mit");
  builder.floats("a.weight", {256, 4}).floats("b.weight", {256, 4});
  return builder.build();
}

// Of a file on its way: `prefix` bytes are here, others behind them.
Result<bool> judged(std::string content, std::size_t prefix, char behind = '\0') {
  static const TemporaryFolder folder;
  std::fill(content.begin() + static_cast<std::ptrdiff_t>(prefix), content.end(), behind);
  std::ofstream(folder / "m", std::ios::binary) << content;  // a sync a byte would take minutes
  return judge_beginning(folder / "m", prefix);
}

TEST(GgufBeginning, IsNeverAgainstAGoodFileHoweverMuchIsHere) {
  const std::string good = model();
  bool right = false;
  const std::size_t header = good.find("b.weight") + 64;
  for (std::size_t prefix = 4; prefix <= good.size(); prefix += prefix < header ? 1 : 1000) {
    for (const char behind : {'\0', '\xFF', '\x01'}) {
      const auto verdict = judged(good, prefix, behind);
      ASSERT_TRUE(verdict) << prefix << ": " << verdict.error().message;
      EXPECT_TRUE(*verdict || !right) << prefix << ": once here, it stays";
      right = *verdict;
    }
  }
  EXPECT_TRUE(right);
}

TEST(GgufBeginning, TellsWhatIsWrongBeforeTheRestIsHere) {
  std::string bad = model();
  bad.replace(bad.find("a.weight"), 8,
              "a.\x01"
              "eight");
  const std::size_t header = bad.find("b.weight") + 60;
  const auto verdict = judged(bad, header);
  ASSERT_FALSE(verdict);
  EXPECT_EQ(verdict.error().code, ErrorCode::kCorrupt);
  EXPECT_TRUE(judged(bad, bad.find("a.\x01"))) << "not before the fault itself is here";
}

}  // namespace
}  // namespace gogrid
