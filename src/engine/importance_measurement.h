// Runs a model over a text, and sums up what goes into each of its weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "base/result.h"
#include "device/device.h"
#include "engine/importance_collector.h"
#include "engine/loss_measurement.h"
#include "model/model_profile.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

struct ImportanceQuestion {
  LossSide model;
  std::span<const Token> tokens;
  std::optional<Token> begin_token;  // in place of each chunk's first
  std::uint32_t context = 512;       // tokens of a chunk
  std::uint32_t first_chunk = 0;     // the ones before were summed up already
  std::uint32_t max_chunks = 0;      // of the text, those before counted; 0: all
  Device device;
};

// Adds chunk after chunk to `collector`. `progress` comes before each chunk and after the last,
// with how many are in the collector, and may read it; false ends with kCancelled. On a thread of
// its own.
Status measure_importance(const ImportanceQuestion& question, StageFactory& factory,
                          MemoryLedger& ledger, ImportanceCollector& collector,
                          const ChunkProgress& progress, const std::stop_token& stop);

}  // namespace gogrid
