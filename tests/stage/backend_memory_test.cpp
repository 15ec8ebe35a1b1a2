#include "stage/backend_memory.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace gogrid {
namespace {

const std::vector<std::string> kCpu = {
    "load_tensors:   CPU_Mapped model buffer size =    92.10 MiB",
    "load_tensors:   CPU_REPACK model buffer size =    10.00 MiB",
    "llama_context:        CPU  output buffer size =     0.75 MiB",
    "llama_kv_cache:        CPU KV buffer size =    45.00 MiB",
    "llama_kv_cache: size =   45.00 MiB (   512 cells,  30 layers,  4/4 seqs)",
    "llama_memory_recurrent:        CPU RS buffer size =     2.50 MiB",
    "sched_reserve:        CPU compute buffer size =   102.25 MiB",
};

TEST(BackendMemory, AddsUpWhatWasAllocated) {
  const StageMemory memory = measured_memory(kCpu, "CPU");
  EXPECT_EQ(memory.weights, static_cast<Bytes>(102.10 * 1048576));
  EXPECT_EQ(memory.kv, Bytes{95} * kMiB / 2);
  EXPECT_EQ(memory.compute, Bytes{103} * kMiB);
}

TEST(BackendMemory, CountsAnAdapterAmongTheWeights) {
  const std::vector<std::string> lines = {
      "load_tensors:   CPU_Mapped model buffer size =    92.00 MiB",
      "llama_adapter_lora_init_impl:        CPU LoRA buffer size =     4.00 MiB",
  };
  EXPECT_EQ(measured_memory(lines, "CPU").weights, 96 * kMiB);
}

TEST(BackendMemory, KnowsTheGraphFromTheOutputs) {
  EXPECT_EQ(graph_memory(kCpu, "CPU"), static_cast<Bytes>(102.25 * 1048576));
  EXPECT_EQ(graph_memory({}, "CPU"), std::nullopt);
}

TEST(BackendMemory, CountsTheDeviceAskedForOnly) {
  const std::vector<std::string> lines = {
      "load_tensors:      Vulkan0 model buffer size =    80.00 MiB",
      "load_tensors:   CPU_Mapped model buffer size =    12.00 MiB",
      "sched_reserve:    Vulkan0 compute buffer size =     5.00 MiB",
      "sched_reserve: Vulkan_Host compute buffer size =     7.00 MiB",
  };
  EXPECT_EQ(measured_memory(lines, "Vulkan0").weights, 80 * kMiB);
  EXPECT_EQ(measured_memory(lines, "Vulkan0").compute, 5 * kMiB);
  EXPECT_EQ(measured_memory(lines, "Vulkan").compute, 5 * kMiB);  // pinned host memory: not its own
  EXPECT_EQ(measured_memory(lines, "CPU").weights, 12 * kMiB);
}

TEST(BackendMemory, IgnoresLinesThatSayNothingOfIt) {
  const std::vector<std::string> lines = {
      "",
      "buffer size =",
      ": buffer size = 1 MiB",
      "x: CPU KV buffer size = many MiB",
      "x: CPU KV buffer size = -1.00 MiB",
      "x: CPU KV buffer size = inf MiB",
      "x: CPU KV buffer size = nan MiB",
      "x: CPU KV buffer size = 1e300 MiB",
      "x: CPU KV buffer size = 1.00 GiB",
      "x: CPU buffer size = 1.00 MiB",
      "x: CPU other buffer size = 1.00 MiB",
  };
  EXPECT_EQ(measured_memory(lines, "CPU").total(), 0U);
}

TEST(BackendMemory, KnowsWhichKindsWereMade) {
  EXPECT_TRUE(made_buffer(kCpu, "KV"));
  EXPECT_TRUE(made_buffer(kCpu, "RS"));
  EXPECT_FALSE(made_buffer({kCpu.data(), 4}, "RS"));
  EXPECT_TRUE(made_buffer(std::vector<std::string>{"x: CPU RS buffer size = 0.00 MiB"}, "RS"));
}

}  // namespace
}  // namespace gogrid
