// What the smaller types of a plan's stages cost: the model runs over a text with its own weights
// and with the plan's, and both are compared.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "model/gguf_file.h"
#include "model/model_loss.h"
#include "model/model_profile.h"
#include "model/slice_cache.h"
#include "placement/plan.h"
#include "request/sampling_spec.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

struct StageLossQuestion {
  std::string model;
  const GgufFile* file = nullptr;  // never null; must outlive the call, as the profile
  const ModelProfile* profile = nullptr;
  std::string digest;  // SHA-256 of the file
  std::vector<PlannedStage> stages;
  std::vector<Device> devices;  // that the plan names
  std::span<const Token> tokens;
  std::optional<Token> begin_token;  // in place of each chunk's first, where the model asks for one
  std::uint32_t context = 256;       // tokens of a chunk
  std::uint32_t max_chunks = 4;
  std::filesystem::path scratch;  // a folder for logits that are waited for: 4 bytes a token of the
                                  // vocabulary and position, gone when it returns
};

// Asked before each piece of work (some tens of rows, some MiB of a slice): how far it is. False
// ends with kCancelled.
using StageLossProgress = std::function<bool(double share)>;

// Hidden rows go from slice to slice, so that one slice at a time is in memory, with a lease of
// `ledger` (null: nobody counts) for all it takes: each of the plan's on its own device, what of
// the model's own weights is too large for that in parts, on the device of the plan that has room.
// The plan's slices are made where they are not there yet, and stay; others that it had to make are
// gone again.
//
// The numbers are those of measure_loss(): positions of the second half of each chunk. The errors
// of slices, leases and stages; kInvalidArgument for a text of fewer than two chunks, or where no
// stage is smaller. Runs on threads of its own.
Result<ModelLoss> measure_stage_loss(const StageLossQuestion& question, StageFactory& factory,
                                     const SliceCache& slices, MemoryLedger* ledger,
                                     const StageLossProgress& progress,
                                     const std::stop_token& stop);

}  // namespace gogrid
