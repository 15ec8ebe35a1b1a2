// Whether a model fits on devices, and how large a context and how many sequences would. Pure: by
// search over the memory estimate, which grows with both.
#pragma once

#include <cstdint>
#include <span>

#include "base/units.h"
#include "model/model_profile.h"
#include "placement/planner.h"

namespace gogrid {

// As plan_stages() would place it on these devices, all of them or some.
bool fits(const ModelProfile& profile, std::span<const DeviceBudget> devices,
          const PlanQuestion& question);

// The largest context from 1 to `most` that fits with the question's sequences; 0: none.
std::uint32_t largest_context(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                              const PlanQuestion& question, std::uint32_t most);
// The most sequences of the question's context, from 1 to `most`; 0: none.
std::uint32_t largest_parallel(const ModelProfile& profile, std::span<const DeviceBudget> devices,
                               const PlanQuestion& question, std::uint32_t most);

}  // namespace gogrid
