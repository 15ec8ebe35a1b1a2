// How much a model's answers suffer when some of its weights are rounded: the measured side of
// choosing types.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/loss_measurement.h"
#include "engine/text_run.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

struct SensitivityQuestion {
  LossSide model;  // a file whose weights `change` may change between two runs
  std::span<const Token> tokens;
  std::optional<Token> begin_token;  // in place of each chunk's first, where the model asks for one
  std::uint32_t context = 256;       // tokens of a chunk
  std::uint32_t max_chunks = 2;      // 0: all
  Device device;
};

// Rounds the weights of a group in the file, or puts them back as they were.
enum class GroupState : std::uint8_t { kRounded, kBack };
using ChangeGroup = std::function<Status(std::size_t group, GroupState state)>;

// Bytes of logits that measure_sensitivities() keeps all the time, in the host's memory: for a
// lease.
Bytes logits_kept(const SensitivityQuestion& question);

// The mean Kullback-Leibler divergence of the model's probabilities with each of `groups` groups
// rounded, one at a time, from those of the model as it is, in nats, at every position of each
// chunk's second half. Loads the model anew for each, with leases of `ledger`. `progress` comes
// before each group: false ends with kCancelled. After an error the file holds anything. Runs on a
// thread of its own, which also calls `change` and `progress`.
Result<std::vector<double>> measure_sensitivities(const SensitivityQuestion& question,
                                                  std::size_t groups, const ChangeGroup& change,
                                                  StageFactory& factory, MemoryLedger& ledger,
                                                  const ChunkProgress& progress,
                                                  const std::stop_token& stop);

}  // namespace gogrid
