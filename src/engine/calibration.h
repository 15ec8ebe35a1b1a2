// How fast a device is for a model: measured once on a few of its layers, kept in a folder.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "model/model_profile.h"
#include "placement/planner.h"
#include "stage/stage.h"

namespace gogrid {

// One budget a device, in their order. A device is measured with a slice of some first layers and
// one of the last layers and the head (a model that cannot be cut: whole), at 1, 4 and 16 rows and
// with one prefill; w and c come from a least-squares fit. Takes about a second a device; the
// result is read back next time (same file, device, cores and libllama). `note` is told what is
// being done. kIo, or the first stage's error.
Result<std::vector<DeviceBudget>> calibrate(const GgufFile& file, const ModelProfile& profile,
                                            std::string_view digest,
                                            std::span<const Device> devices, StageFactory& factory,
                                            SliceCache& slices,
                                            const std::filesystem::path& cache_folder,
                                            const std::function<void(std::string_view)>& note);

// t(b) = w + c * b through the points, neither negative. Pure.
struct StepCost {
  double read_ms = 0.0;  // w
  double row_ms = 0.0;   // c
};
struct StepTime {
  double rows = 0.0;
  double ms = 0.0;
};
StepCost fit_step_cost(std::span<const StepTime> times);

}  // namespace gogrid
