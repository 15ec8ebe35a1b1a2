// Which types each tensor of a model could be written in, and how far each is off: what a choice by
// size is made of.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/gguf_file.h"
#include "model/quantization_plan.h"
#include "model/rounding.h"
#include "model/type_choice.h"

namespace gogrid {

struct TypeCandidate {
  WeightType type;
  Bytes bytes = 0;   // of the tensor in it, padded
  double error = 0;  // rounding_error(); 0 for the tensor's own
};

// A tensor that libllama would quantize. Views point into the model's file and the importance
// matrix.
struct CandidateTensor {
  const GgufTensor* tensor = nullptr;
  std::vector<float> importance;     // means by column; empty: nothing is known
  std::vector<TypeCandidate> types;  // at least one; by their bytes
  std::size_t group = 0;             // tensors that are measured together have the same
};

struct CandidateModel {
  std::vector<CandidateTensor> tensors;
  std::size_t groups = 0;
  Bytes fixed_bytes = 0;  // of the file that will be written: header, and tensors that stay

  // With the smallest types.
  Bytes smallest_file() const;
};

// Types that backends compute everywhere: `options` names what the caller has chosen already (its
// overrides, output and embedding type are the only type of the tensors they fit), and the
// importance matrix, without which there are none of less than about three bits. Tensors of the
// same part in neighbouring layers make a group, so that there are at most `most_groups` of them.
// No error is set yet. Refusals as plan_quantization().
Result<CandidateModel> type_candidates(const GgufFile& model, const QuantizeOptions& options,
                                       std::size_t most_groups);

// Takes away types that are so much smaller than a tensor's share of `file_bytes` that they would
// not be chosen: to spare measuring them. Leaves all where that would not fit any more.
void drop_tiny_types(CandidateModel& candidates, Bytes file_bytes);

// Sets the errors, on `threads` threads. `progress` is called on one of them at a time with the
// share of the work that is done; false ends with kCancelled.
Status measure_errors(const GgufFile& model, CandidateModel& candidates, unsigned threads,
                      const std::function<bool(double share)>& progress);

// The type to measure a tensor's sensitivity with: fast, and far enough off to be seen, yet no more
// than what a model bears.
const TypeCandidate& trial_type(const CandidateTensor& tensor);

// What each type of each tensor costs: its error times the sensitivity of its group, which is the
// divergence that was measured over the sum of the errors of its tensors' trial types. For small
// errors the losses of tensors add up, and each grows with its square error (Malinovskii and
// others: Pushing the Limits of Large Language Model Quantization via the Linearity Theorem, 2024).
std::vector<TypeOptions> losses_of(const CandidateModel& candidates,
                                   std::span<const double> divergences);

}  // namespace gogrid
