// A whole model on one device that is run over texts, and says what it thinks comes next.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "model/model_profile.h"
#include "request/sampling_spec.h"
#include "resource/memory_ledger.h"
#include "stage/stage.h"

namespace gogrid {

struct LossSide {
  std::string name;
  std::filesystem::path path;
  ModelProfile profile;
};

// A step of rows [from, to) of a chunk, in slot 0; the first row forgets what was before. `wanted`:
// with the logits of each.
StageInput rows_of(std::uint64_t step, std::span<const Token> chunk, std::size_t from,
                   std::size_t to, bool wanted);

// Owns the stage and the leases on its memory. Not thread-safe; belongs to the thread that loaded
// it.
class TextRun {
 public:
  // Rows whose logits are in memory at once: 12 MiB of a vocabulary of 50,000 tokens.
  static constexpr std::uint32_t kRowsAtOnce = 64;
  static constexpr std::uint32_t kMostRows = 512;  // of a step without logits

  // Leases all it will take as `holder` before it loads. `context`: tokens of a chunk.
  static Result<TextRun> load(const LossSide& model, const Device& device, std::uint32_t context,
                              std::string_view holder, StageFactory& factory, MemoryLedger& ledger,
                              const std::stop_token& stop);

  // Rows [from, to) of a chunk, at most kMostRows, or kRowsAtOnce where logits are `wanted`: then
  // those of each row come. The first row of a chunk forgets what was before.
  Result<std::vector<SampledRow>> run(std::span<const Token> chunk, std::size_t from,
                                      std::size_t to, bool wanted, const std::stop_token& stop);
  // Rows [0, to) of a chunk, for context only.
  Status run_context(std::span<const Token> chunk, std::size_t to, const std::stop_token& stop);

 private:
  explicit TextRun(std::unique_ptr<Stage> stage) : stage_(std::move(stage)) {}

  std::unique_ptr<Stage> stage_;
  std::uint64_t steps_ = 0;
};

}  // namespace gogrid
