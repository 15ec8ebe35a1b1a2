#include "model/split_file.h"

#include <gtest/gtest.h>

namespace gogrid {
namespace {

TEST(PartName, IsItsStemNumberAndCount) {
  const auto name = parse_part_name("big-Q4_K-00002-of-00013");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->stem, "big-Q4_K");
  EXPECT_EQ(name->part.number, 2U);
  EXPECT_EQ(name->part.count, 13U);
}

TEST(PartName, IsNoOtherName) {
  for (const char* stem : {"", "big", "-00001-of-00002", "big-0001-of-0002", "big-00001-of-0000x",
                           "big-00000-of-00002", "big-00003-of-00002", "big-00001_of_00002",
                           "big00001-of-00002x", "big-00001-of-00002.gguf", "big-+0001-of-00002"})
    EXPECT_FALSE(parse_part_name(stem)) << stem;
}

TEST(PathOfPart, IsBesideTheFirst) {
  EXPECT_EQ(path_of_part("/m/big-00001-of-00012.gguf", 12), "/m/big-00012-of-00012.gguf");
  EXPECT_EQ(path_of_part("big-00001-of-00002.gguf", 2), "big-00002-of-00002.gguf");
  EXPECT_EQ(path_of_part("/m/big.gguf", 2), "");
}

}  // namespace
}  // namespace gogrid
