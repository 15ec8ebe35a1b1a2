#include "device/drm_fdinfo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gogrid {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

const std::string kAmd =
    "pos:\t0\nflags:\t02100002\nmnt_id:\t26\nino:\t685\n"
    "drm-driver:\tamdgpu\ndrm-client-id:\t23\ndrm-pdev:\t0000:03:00.0\npasid:\t32770\n"
    "drm-memory-vram:\t2048 KiB\ndrm-memory-gtt: \t12 MiB\ndrm-memory-cpu: \t0 KiB\n"
    "drm-engine-gfx:\t1234567890 ns\ndrm-engine-compute:\t99 ns\n";

const std::string kXe =
    "drm-driver:\txe\ndrm-client-id:\t3\ndrm-pdev:\t0000:03:00.0\n"
    "drm-total-vram0:\t99 MiB\ndrm-shared-vram0:\t16 MiB\ndrm-resident-vram0:\t23992 KiB\n"
    "drm-resident-gtt:\t192 KiB\n"
    "drm-cycles-rcs:\t28257900\ndrm-total-cycles-rcs:\t7655183225\n"
    "drm-cycles-vcs:\t0\ndrm-total-cycles-vcs:\t7655183225\ndrm-engine-capacity-vcs:\t2\n";

TEST(DrmFdinfo, OfAmdgpuHasTimesAndMemory) {
  const auto client = parse_drm_fdinfo(kAmd);
  ASSERT_TRUE(client);
  EXPECT_EQ(client->driver, "amdgpu");
  EXPECT_EQ(client->id, 23U);
  EXPECT_EQ(client->pci_address, "0000:03:00.0");
  EXPECT_EQ(client->engines.at("gfx").busy_ns, 1234567890U);
  EXPECT_EQ(client->engines.at("compute").busy_ns, 99U);
  EXPECT_THAT(client->resident,
              ElementsAre(Pair("cpu", 0U), Pair("gtt", 12 * kMiB), Pair("vram", 2 * kMiB)));
  EXPECT_EQ(client->device_memory(), 2 * kMiB);
}

TEST(DrmFdinfo, OfXeHasCyclesAndCapacities) {
  const auto client = parse_drm_fdinfo(kXe);
  ASSERT_TRUE(client);
  ASSERT_THAT(client->engines, SizeIs(2));
  EXPECT_EQ(client->engines.at("rcs").cycles, 28257900U);
  EXPECT_EQ(client->engines.at("rcs").total_cycles, 7655183225U);
  EXPECT_EQ(client->engines.at("rcs").capacity, 1U);
  EXPECT_EQ(client->engines.at("vcs").capacity, 2U);
  EXPECT_EQ(client->engines.at("rcs").busy_ns, std::nullopt);
  EXPECT_EQ(client->device_memory(), 23992 * kKiB) << "resident, not total";
}

TEST(DrmFdinfo, OfAnIntegratedGpuHasNoMemoryOfItsOwn) {
  const auto client =
      parse_drm_fdinfo("drm-driver: i915\ndrm-client-id: 1\ndrm-resident-system0: 7 MiB\n");
  ASSERT_TRUE(client);
  EXPECT_EQ(client->device_memory(), std::nullopt);
}

TEST(DrmFdinfo, OfAnotherKindOfFileIsNobodys) {
  EXPECT_FALSE(parse_drm_fdinfo(""));
  EXPECT_FALSE(parse_drm_fdinfo("pos:\t0\nflags:\t02\n"));
  EXPECT_FALSE(parse_drm_fdinfo("drm-driver: amdgpu\n")) << "without an id it may be counted twice";
  EXPECT_FALSE(parse_drm_fdinfo("drm-client-id: 4\n"));
}

TEST(DrmFdinfo, PassesOverWhatIsNotAsDocumented) {
  const auto client = parse_drm_fdinfo(
      "drm-driver: amdgpu\ndrm-client-id: 4\n"
      "drm-engine-a: 5\n"                           // without its unit
      "drm-engine-b: 99999999999999999999999 ns\n"  // beyond 64 bits
      "drm-engine-c: -3 ns\n"
      "drm-engine-: 3 ns\n"
      "drm-engine-d: 3 nsec\n"
      "drm-engine-capacity-e: 0\n"
      "drm-memory-x: 18446744073709551615 KiB\n"
      "drm-memory-y: 3 parsecs\n"
      "drm-\n:\n::::\n drm-engine-f: 1 ns\n"
      "drm-engine-good: 7 ns");
  ASSERT_TRUE(client);
  EXPECT_THAT(client->engines, SizeIs(1));
  EXPECT_EQ(client->engines.at("good").busy_ns, 7U) << "even without a line's end";
  EXPECT_THAT(client->resident, IsEmpty());
}

TEST(DrmFdinfo, KeepsNoMoreThanItSaysOfAFileWithoutEnd) {
  std::string text = "drm-driver: amdgpu\ndrm-client-id: 4\n";
  for (int i = 0; i < 1000; ++i) {
    text += "drm-engine-e" + std::to_string(i) + ": 1 ns\n";
    text += "drm-memory-m" + std::to_string(i) + ": 1 KiB\n";
  }
  text += "drm-engine-" + std::string(100'000, 'x') + ": 1 ns\n";
  text += "drm-pdev: " + std::string(100'000, '0') + "\n";
  const auto client = parse_drm_fdinfo(text);
  ASSERT_TRUE(client);
  EXPECT_THAT(client->engines, SizeIs(kMaxDrmKeys));
  EXPECT_THAT(client->resident, SizeIs(kMaxDrmKeys));
  EXPECT_EQ(client->pci_address, "");
}

TEST(DrmFdinfo, CutAnywhereTellsNoMoreThanTheWhole) {
  const std::size_t identified = kXe.find("drm-pdev");
  for (std::size_t length = 0; length <= kXe.size(); ++length) {
    const auto client = parse_drm_fdinfo(kXe.substr(0, length));
    if (length >= identified) {
      ASSERT_TRUE(client) << length;
    }
    if (client) {
      EXPECT_LE(client->engines.size(), 2U) << length;
    }
  }
}

}  // namespace
}  // namespace gogrid
