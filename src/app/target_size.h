// `gogrid quantize --target-size`: which type each tensor gets, measured.
#pragma once

#include <string>
#include <vector>

#include "app/long_job.h"
#include "app/stop_signals.h"
#include "app/workspace.h"
#include "base/result.h"
#include "base/units.h"
#include "cli/options.h"
#include "model/quantization_plan.h"

namespace gogrid {

struct ChosenTypes {
  std::vector<TensorOverride> recipe;  // one for each part of a layer and type
  QuantizationMix mix;                 // what is written down as the file's type
  double predicted_kl = 0;             // on the text, in nats
  std::size_t trials = 0;              // groups of tensors that were rounded and measured
};

// Chooses types so that the file is at most `command.target_size` bytes, with the least loss that
// can be predicted: the error of each tensor in each type, times what the model's answers to
// `command.text` suffer by rounding it, which is measured in a trial model beside the slices of
// `workspace` (about half the size of one of 16 bits; gone afterwards). `options` has what the
// caller chose already. Takes about a minute for each 100 million weights on two cores, rests
// and pauses as the policy says, and ends with kCancelled at the first signal.
//   kInvalidArgument  a size that is less than the smallest possible, or more than the model's;
//                     a text that is too short
Result<ChosenTypes> choose_for_size(const QuantizeCommand& command, const QuantizeOptions& options,
                                    const ModelSource& source, const GgufFile& model,
                                    const Workspace& workspace, LongJob& job, StopSignals& signals);

}  // namespace gogrid
