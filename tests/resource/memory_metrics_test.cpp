#include "resource/memory_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "resource/fake_root.h"

namespace gogrid {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(MemoryMetrics, ShowLeasesAndCapsBesideWhatIsReallyUsed) {
  MemoryLedger ledger;
  ledger.set_cap("cpu0", 1000);
  const auto leases = ledger.acquire(std::array{MemoryRequest{"cpu0", MemoryUse::kKv, "m", 70}});
  Device gpu;
  gpu.id = "vulkan0";
  gpu.kind = DeviceKind::kGpu;
  gpu.memory_total = 100;
  gpu.memory_free = 30;
  Device unknown = gpu;
  unknown.id = "vulkan1";
  unknown.memory_free = std::nullopt;
  testing::FakeRoot root;
  root.put("proc/self/status", "RssAnon: 3 kB\nRssFile: 2 kB\nRssShmem: 0 kB\n");
  Metrics metrics;
  export_memory(ledger, std::array{gpu, unknown}, root.path(), metrics);
  const std::string text = metrics.expose();
  for (const char* line :
       {R"(gogrid_memory_leased_bytes{device="cpu0",model="m",use="KV cache"} 70)",
        R"(gogrid_memory_cap_bytes{device="cpu0"} 1000)",
        R"(gogrid_memory_measured_bytes{device="",kind="process_anonymous"} 3072)",
        R"(gogrid_memory_measured_bytes{device="",kind="process_file"} 2048)",
        R"(gogrid_memory_measured_bytes{device="vulkan0",kind="device_used"} 70)"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, Not(HasSubstr("vulkan1")));
}

TEST(MemoryMetrics, WhatCannotBeReadIsNotShownAsNothing) {
  const testing::FakeRoot root;
  Metrics metrics;
  export_memory(MemoryLedger(), {}, root.path(), metrics);
  EXPECT_THAT(metrics.expose(), Not(HasSubstr("gogrid_memory_measured_bytes{")));
}

}  // namespace
}  // namespace gogrid
