// What the smaller types of a plan's stages cost: measured once, and then known.
#pragma once

#include <functional>
#include <stop_token>
#include <string>

#include "app/prepare.h"
#include "app/workspace.h"
#include "base/result.h"
#include "resource/governor.h"
#include "stage/stage.h"

namespace gogrid {

// Puts the loss into `prepared.plan`, and in words into its reasons: that of the data folder, or
// measured now over loss_text(), for which the slices that the plan will load are made. Nothing is
// done for a plan whose stages all have the model's own weights.
//
// Where it cannot be measured for want of memory or of tokens, the reasons say so and it is tried
// anew another time. Waits while `governor` (may be null) pauses; kCancelled when told to stop; the
// errors of slices and stages. `progress`: 0..1.
Status add_loss(PreparedModel& prepared, const Workspace& workspace, StageFactory& factory,
                const Governor* governor, const std::function<void(double)>& progress,
                const std::stop_token& stop);

// What must never go unsaid: "layers 18-30 on cpu-b as q4_K instead of the model's own weights: KL
// 0.01 ..."; empty for a plan that changes nothing.
std::string smaller_stages_notice(const Plan& plan);

}  // namespace gogrid
