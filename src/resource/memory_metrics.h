// What was leased beside what is really used.
#pragma once

#include <filesystem>
#include <span>

#include "device/device.h"
#include "obs/metrics.h"
#include "resource/memory_ledger.h"

namespace gogrid {

// Leases and caps of the ledger; resident memory of this process ("process_anonymous",
// "process_file", "process_shared"); and of each device but the CPU what is used by everybody
// ("device_used"). What cannot be read is not set. `root`: where /proc is.
//
// A model's weights on a CPU are file pages as long as they are mapped, and anonymous where they
// were repacked. So leased bytes of CPU devices compare with anonymous and file pages together,
// less what the program itself takes.
void export_memory(const MemoryLedger& ledger, std::span<const Device> devices,
                   const std::filesystem::path& root, Metrics& metrics);

}  // namespace gogrid
