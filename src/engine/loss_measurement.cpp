#include "engine/loss_measurement.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>
#include <vector>

#include "base/format.h"
#include "engine/loss_tally.h"

namespace gogrid {
namespace {

constexpr std::uint32_t kFewestChunks = 2;

// The first half is context only; the last token has nothing to predict.
Status run_chunk(std::span<const Token> chunk, TextRun& base, TextRun& other, LossTally& tally,
                 const std::stop_token& stop) {
  const std::size_t first = chunk.size() / 2;
  GOGRID_RETURN_IF_ERROR(base.run_context(chunk, first, stop));
  GOGRID_RETURN_IF_ERROR(other.run_context(chunk, first, stop));
  for (std::size_t from = first; from + 1 < chunk.size(); from += TextRun::kRowsAtOnce) {
    const std::size_t to = std::min<std::size_t>(from + TextRun::kRowsAtOnce, chunk.size() - 1);
    GOGRID_ASSIGN_OR_RETURN(const auto base_rows, base.run(chunk, from, to, true, stop));
    GOGRID_ASSIGN_OR_RETURN(const auto other_rows, other.run(chunk, from, to, true, stop));
    for (std::size_t i = from; i < to; ++i) {
      GOGRID_ASSIGN_OR_RETURN(
          const PositionLoss loss,
          compare_logits(base_rows[i - from].logits, other_rows[i - from].logits, chunk[i + 1]));
      tally.add(loss);
    }
  }
  return {};
}

Result<ModelLoss> measure_here(const LossQuestion& question, StageFactory& factory,
                               MemoryLedger& ledger, const ChunkProgress& progress,
                               const std::stop_token& stop) {
  GOGRID_ASSIGN_OR_RETURN(
      const std::uint32_t chunks,
      count_chunks(question.tokens.size(), question.context, question.max_chunks));
  const auto load = [&](const LossSide& side) {
    return TextRun::load(side, question.device, question.context, "loss of " + side.name, factory,
                         ledger, stop);
  };
  GOGRID_ASSIGN_OR_RETURN(TextRun base, load(question.base));
  GOGRID_ASSIGN_OR_RETURN(TextRun other, load(question.other));
  LossTally tally;
  for (std::uint32_t i = 0; i < chunks; ++i) {
    if (!progress(i, chunks)) return fail(ErrorCode::kCancelled, "[loss] stopped");
    const auto chunk = chunk_at(question.tokens, i, question.context, question.begin_token);
    GOGRID_RETURN_IF_ERROR(run_chunk(chunk, base, other, tally, stop));
  }
  ModelLoss loss = tally.total();
  loss.context = question.context;
  loss.base = question.base.name;
  return loss;
}

}  // namespace

Result<std::uint32_t> count_chunks(std::size_t tokens, std::uint32_t context,
                                   std::uint32_t max_chunks) {
  const std::size_t chunks = tokens / context;
  if (chunks < kFewestChunks) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[loss] a text of at least {} tokens ({} chunks of {}): it has {}",
                            kFewestChunks * context, kFewestChunks, context, tokens),
                "text");
  }
  return static_cast<std::uint32_t>(
      std::min<std::size_t>(chunks, max_chunks == 0 ? UINT32_MAX : max_chunks));
}

std::vector<Token> chunk_at(std::span<const Token> tokens, std::uint32_t i, std::uint32_t context,
                            const std::optional<Token>& begin_token) {
  const auto found = tokens.subspan(std::size_t{i} * context, context);
  std::vector<Token> chunk(found.begin(), found.end());
  if (begin_token) chunk.front() = *begin_token;
  return chunk;
}

Result<ModelLoss> measure_loss(const LossQuestion& question, StageFactory& factory,
                               MemoryLedger& ledger, const ChunkProgress& progress,
                               const std::stop_token& stop) {
  if (question.base.profile.n_vocab != question.other.profile.n_vocab) {
    return fail(ErrorCode::kInvalidArgument,
                format_text("[loss] models of one vocabulary: {} has {} tokens, {} {}",
                            question.base.name, question.base.profile.n_vocab, question.other.name,
                            question.other.profile.n_vocab));
  }
  Result<ModelLoss> result = fail(ErrorCode::kInternal, "[loss] not run");
  std::thread([&] {
    try {
      result = measure_here(question, factory, ledger, progress, stop);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal, std::string("[loss] ") + error.what());
    }
  }).join();
  return result;
}

}  // namespace gogrid
