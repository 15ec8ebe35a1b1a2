// What a model and its context really took, from what libllama says when it allocates.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/memory_estimator.h"

namespace gogrid {

// libllama's public interface tells no buffer sizes; its log lines do, to 0.01 MiB:
//
//   load_tensors:   CPU_Mapped model buffer size =    92.10 MiB
//   llama_kv_cache:        CPU KV buffer size =    45.00 MiB
//   sched_reserve:        CPU compute buffer size =   102.14 MiB
//   llama_context:        CPU  output buffer size =     0.75 MiB
//
// Sums the buffers whose name starts with `device` ("CPU", "Vulkan0"), but for its pinned host
// memory. Measured, not enforced.
StageMemory measured_memory(std::span<const std::string> log_lines, std::string_view device);

// Of the graph alone ("compute"); empty where nothing was reserved for one. A graph that has
// changed is reserved anew, in place of the one before.
std::optional<Bytes> graph_memory(std::span<const std::string> log_lines, std::string_view device);

// Whether any buffer of this kind ("KV", "RS": recurrent state) was made, on whatever device,
// however small.
bool made_buffer(std::span<const std::string> log_lines, std::string_view kind);

}  // namespace gogrid
