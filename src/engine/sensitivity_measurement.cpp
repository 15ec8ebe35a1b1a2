#include "engine/sensitivity_measurement.h"

#include <algorithm>
#include <exception>
#include <string>
#include <thread>
#include <utility>

#include "engine/loss_tally.h"

namespace gogrid {
namespace {

std::unexpected<Error> stopped() { return fail(ErrorCode::kCancelled, "[sensitivity] stopped"); }

// Told of the logits of every position that counts, in order, and of the token behind it.
using SeeLogits = std::function<Status(std::vector<float> logits, Token next)>;

class Measurement {
 public:
  Measurement(const SensitivityQuestion& question, StageFactory& factory, MemoryLedger& ledger,
              const std::stop_token& stop)
      : question_(question), factory_(factory), ledger_(ledger), stop_(stop) {}

  Result<std::vector<double>> run(std::size_t groups, const ChangeGroup& change,
                                  const ChunkProgress& progress);

 private:
  Status run_model(const SeeLogits& see) const;
  Status run_chunk(TextRun& model, std::span<const Token> chunk, const SeeLogits& see) const;
  Status keep_reference();
  Result<double> divergence() const;

  const SensitivityQuestion& question_;
  StageFactory& factory_;
  MemoryLedger& ledger_;
  const std::stop_token& stop_;
  std::uint32_t chunks_ = 0;
  std::vector<std::vector<float>> reference_;  // by position
};

Status Measurement::run_chunk(TextRun& model, std::span<const Token> chunk,
                              const SeeLogits& see) const {
  const std::size_t first = chunk.size() / 2;
  GOGRID_RETURN_IF_ERROR(model.run_context(chunk, first, stop_));
  for (std::size_t from = first; from + 1 < chunk.size(); from += TextRun::kRowsAtOnce) {
    const std::size_t to = std::min<std::size_t>(from + TextRun::kRowsAtOnce, chunk.size() - 1);
    GOGRID_ASSIGN_OR_RETURN(auto rows, model.run(chunk, from, to, true, stop_));
    for (std::size_t i = from; i < to; ++i)
      GOGRID_RETURN_IF_ERROR(see(std::move(rows[i - from].logits), chunk[i + 1]));
  }
  return {};
}

Status Measurement::run_model(const SeeLogits& see) const {
  GOGRID_ASSIGN_OR_RETURN(
      TextRun model,
      TextRun::load(question_.model, question_.device, question_.context,
                    "sensitivity of " + question_.model.name, factory_, ledger_, stop_));
  for (std::uint32_t i = 0; i < chunks_; ++i) {
    if (stop_.stop_requested()) return stopped();
    const auto chunk = chunk_at(question_.tokens, i, question_.context, question_.begin_token);
    GOGRID_RETURN_IF_ERROR(run_chunk(model, chunk, see));
  }
  return {};
}

Status Measurement::keep_reference() {
  return run_model([this](std::vector<float> logits, Token) -> Status {
    reference_.push_back(std::move(logits));
    return {};
  });
}

Result<double> Measurement::divergence() const {
  LossTally tally;
  GOGRID_RETURN_IF_ERROR(run_model([&](const std::vector<float>& logits, Token next) -> Status {
    GOGRID_ASSIGN_OR_RETURN(const PositionLoss loss,
                            compare_logits(reference_[tally.positions()], logits, next));
    tally.add(loss);
    return {};
  }));
  return tally.total().mean_kl;
}

Result<std::vector<double>> Measurement::run(std::size_t groups, const ChangeGroup& change,
                                             const ChunkProgress& progress) {
  GOGRID_ASSIGN_OR_RETURN(
      chunks_, count_chunks(question_.tokens.size(), question_.context, question_.max_chunks));
  GOGRID_RETURN_IF_ERROR(keep_reference());
  std::vector<double> found;
  for (std::size_t i = 0; i < groups; ++i) {
    if (!progress(static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(groups)))
      return stopped();
    GOGRID_RETURN_IF_ERROR(change(i, GroupState::kRounded));
    GOGRID_ASSIGN_OR_RETURN(const double kl, divergence());
    GOGRID_RETURN_IF_ERROR(change(i, GroupState::kBack));
    found.push_back(kl);
  }
  return found;
}

}  // namespace

Bytes logits_kept(const SensitivityQuestion& question) {
  const std::size_t chunks = question.tokens.size() / question.context;
  const Bytes positions =
      std::min<std::size_t>(chunks, question.max_chunks == 0 ? chunks : question.max_chunks) *
      (question.context - question.context / 2);
  return positions * question.model.profile.n_vocab * sizeof(float);
}

Result<std::vector<double>> measure_sensitivities(const SensitivityQuestion& question,
                                                  std::size_t groups, const ChangeGroup& change,
                                                  StageFactory& factory, MemoryLedger& ledger,
                                                  const ChunkProgress& progress,
                                                  const std::stop_token& stop) {
  Result<std::vector<double>> result = fail(ErrorCode::kInternal, "[sensitivity] not run");
  std::thread([&] {
    try {
      result = Measurement(question, factory, ledger, stop).run(groups, change, progress);
    } catch (const std::exception& error) {
      result = fail(ErrorCode::kInternal, std::string("[sensitivity] ") + error.what());
    }
  }).join();
  return result;
}

}  // namespace gogrid
