// Runs two models over a text, side by side, and compares what they say.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/text_run.h"
#include "model/model_loss.h"
#include "request/sampling_spec.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

struct LossQuestion {
  LossSide base;
  LossSide other;  // of the same vocabulary
  std::span<const Token> tokens;
  std::optional<Token> begin_token;  // in place of each chunk's first, where the model asks for one
  std::uint32_t context = 512;       // tokens of a chunk: 16 and more
  std::uint32_t max_chunks = 0;      // 0: all
  Device device;                     // both run on it
};

// Before each chunk: how many are done, of how many. False ends with kCancelled.
using ChunkProgress = std::function<bool(std::uint32_t done, std::uint32_t chunks)>;

// How many chunks of `context` there are; kInvalidArgument for fewer than two, of which nothing can
// be said.
Result<std::uint32_t> count_chunks(std::size_t tokens, std::uint32_t context,
                                   std::uint32_t max_chunks);

// The i-th chunk, with the begin token where there is one.
std::vector<Token> chunk_at(std::span<const Token> tokens, std::uint32_t i, std::uint32_t context,
                            const std::optional<Token>& begin_token);

// Both models are loaded at once, with leases of `ledger` for all they take; logits are kept for a
// few rows at a time, so that memory does not grow with the text but for four bytes a position.
// Runs on a thread of its own.
Result<ModelLoss> measure_loss(const LossQuestion& question, StageFactory& factory,
                               MemoryLedger& ledger, const ChunkProgress& progress,
                               const std::stop_token& stop);

}  // namespace gogrid
