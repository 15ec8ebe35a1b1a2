// How long a stage's steps take.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "model/model_profile.h"
#include "placement/speed_fit.h"
#include "stage/stage.h"

namespace gogrid {

// What a stage must hold to be timed.
inline constexpr std::uint32_t kTimedSlots = 16;
inline constexpr std::uint32_t kTimedRows = 128;  // of the large batch
inline constexpr std::uint32_t kTimedContext = 256;

// Makes the stage of `spec` on this thread and runs steps of 1, 4, 16 and kTimedRows rows, several
// times each as long as `at_most` allows; each counts with its least time, which is what it takes
// when nobody disturbs it.
Result<SliceTimings> time_stage(const StageSpec& spec, const ModelProfile& profile,
                                StageFactory& factory, const Clock& clock, Duration at_most);

}  // namespace gogrid
