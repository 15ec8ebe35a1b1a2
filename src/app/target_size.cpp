#include "app/target_size.h"

#include <algorithm>
#include <map>
#include <system_error>
#include <thread>

#include "app/one_device.h"
#include "app/prepare.h"
#include "app/terminal.h"
#include "app/text_tokens.h"
#include "base/files.h"
#include "base/format.h"
#include "engine/sensitivity_measurement.h"
#include "model/quantizer.h"
#include "model/tensor_recipe.h"
#include "model/type_candidates.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;

// Each is a run over the text; more would separate layers that are alike.
constexpr std::size_t kMostTrials = 64;
constexpr std::uint32_t kContext = 256;

std::unexpected<Error> at_target(const std::string& what) {
  return fail(ErrorCode::kInvalidArgument, "--target-size: " + what, "--target-size");
}

Status check_target(Bytes target, const CandidateModel& candidates, const GgufFile& model) {
  if (target >= model.file_size()) {
    return at_target(format_text("expected less than the model has, {} bytes ({}): {} bytes",
                                 model.file_size(), format_bytes(model.file_size()), target));
  }
  const Bytes least = candidates.smallest_file();
  if (target >= least) return {};
  return at_target(
      format_text("expected at least {} bytes ({}), the smallest types there are for "
                  "its tensors: {} bytes",
                  least, format_bytes(least), target));
}

// A copy of the model whose tensors can be rounded, and put back. Gone with its owner.
class TrialModel {
 public:
  // Of 8 bits, which a CPU computes in half the time; what that adds to the loss is the same in
  // every trial.
  static Result<TrialModel> write(const GgufFile& model, const Workspace& workspace,
                                  const QuantizeOptions& options, LongJob& job,
                                  const std::stop_token& stop);

  Result<LossSide> side(const std::string& name) const {
    GOGRID_ASSIGN_OR_RETURN(ModelProfile profile, read_profile(file_));
    return LossSide{name, written_.path(), std::move(profile)};
  }
  Status change(const CandidateTensor& tensor, GroupState state) const {
    const GgufTensor& place = *file_.tensor(tensor.tensor->name);  // quantize_model() looked
    const int fd = written_.descriptor();
    if (state == GroupState::kBack)
      return write_weights(model_, *tensor.tensor, place.type, fd, place.offset);
    return write_rounded(model_, *tensor.tensor, trial_type(tensor).type, tensor.importance,
                         place.type, fd, place.offset);
  }

 private:
  TrialModel(const GgufFile& model, AtomicFile written, GgufFile file)
      : model_(model), written_(std::move(written)), file_(std::move(file)) {}

  const GgufFile& model_;
  AtomicFile written_;  // never committed
  GgufFile file_;
};

Result<TrialModel> TrialModel::write(const GgufFile& model, const Workspace& workspace,
                                     const QuantizeOptions& options, LongJob& job,
                                     const std::stop_token& stop) {
  QuantizeOptions eight{.mix = {}};
  GOGRID_ASSIGN_OR_RETURN(eight.mix, find_mix("q8_0"));
  eight.allow_requantize = options.allow_requantize;
  eight.threads = options.threads;
  GOGRID_ASSIGN_OR_RETURN(const QuantizationPlan plan, plan_quantization(model, eight));
  GOGRID_ASSIGN_OR_RETURN(AtomicFile written, AtomicFile::create(workspace.slices() / "trial"));
  std::error_code error;
  const Bytes room = fs::space(workspace.slices(), error).available;
  if (error || room < plan.file_bytes) {
    return fail(ErrorCode::kExhausted,
                format_text("[quantize] {} of free disk in {} for a trial model: {}",
                            format_bytes(plan.file_bytes), workspace.slices().string(),
                            error ? error.message() : format_bytes(room)));
  }
  GOGRID_ASSIGN_OR_RETURN(
      const auto lease,
      lease_host_memory(job, "a trial model of " + model.path().filename().string(),
                        plan.buffer_bytes));
  if (!job.start(stop)) return fail(ErrorCode::kCancelled, "[quantize] told to stop");
  ProgressLine line("writing a trial model of " + model.path().filename().string());
  GOGRID_ASSIGN_OR_RETURN(
      written, quantize_model(model, std::move(written), eight, plan, resting(job, line, stop)));
  GOGRID_ASSIGN_OR_RETURN(GgufFile file, GgufFile::open(written.path()));
  return TrialModel(model, std::move(written), std::move(file));
}

class Search {
 public:
  Search(const QuantizeCommand& command, const QuantizeOptions& options, const ModelSource& source,
         const GgufFile& model, const Workspace& workspace, LongJob& job, StopSignals& signals)
      : command_(command),
        options_(options),
        source_(source),
        model_(model),
        workspace_(workspace),
        job_(job),
        signals_(signals) {}

  Result<ChosenTypes> run();

 private:
  Status measure_errors_of(CandidateModel& candidates);
  Result<std::vector<double>> measure_trials(const CandidateModel& candidates,
                                             const TextTokens& text);
  Result<std::vector<MemoryLedger::Lease>> lease_logits(const SensitivityQuestion& question) const;
  Result<ChosenTypes> choose(const CandidateModel& candidates,
                             std::span<const double> divergences) const;

  const QuantizeCommand& command_;
  const QuantizeOptions& options_;
  const ModelSource& source_;
  const GgufFile& model_;
  const Workspace& workspace_;
  LongJob& job_;
  StopSignals& signals_;
  std::stop_source stop_;
};

Status Search::measure_errors_of(CandidateModel& candidates) {
  ProgressLine line("rounding samples of " + command_.model);
  const unsigned threads =
      options_.threads != 0 ? options_.threads : std::max(1U, std::thread::hardware_concurrency());
  return measure_errors(model_, candidates, threads, [&](double share) {
    line.show(share);
    return job_.rest(stop_.get_token());
  });
}

Result<std::vector<MemoryLedger::Lease>> Search::lease_logits(
    const SensitivityQuestion& question) const {
  return lease_host_memory(job_, "sensitivity of " + command_.model, logits_kept(question));
}

Result<std::vector<double>> Search::measure_trials(const CandidateModel& candidates,
                                                   const TextTokens& text) {
  GOGRID_ASSIGN_OR_RETURN(const TrialModel trial,
                          TrialModel::write(model_, workspace_, options_, job_, stop_.get_token()));
  SensitivityQuestion question;
  GOGRID_ASSIGN_OR_RETURN(question.model, trial.side(source_.name));
  question.tokens = text.tokens;
  question.begin_token = text.begin_token;
  question.context = kContext;
  question.max_chunks = command_.chunks;
  GOGRID_ASSIGN_OR_RETURN(const auto lease, lease_logits(question));
  GOGRID_ASSIGN_OR_RETURN(question.device, one_device(command_.devices, job_));
  const auto change = [&](std::size_t group, GroupState state) -> Status {
    for (const CandidateTensor& tensor : candidates.tensors) {
      if (tensor.group == group) GOGRID_RETURN_IF_ERROR(trial.change(tensor, state));
    }
    return {};
  };
  ProgressLine line("measuring which tensors matter in " + command_.model);
  const auto factory = make_llama_stage_factory();
  return measure_sensitivities(
      question, candidates.groups, change, *factory, process_wide_ledger(),
      [&](std::uint32_t done, std::uint32_t groups) {
        line.show(static_cast<double>(done) / groups);
        return job_.rest(stop_.get_token());
      },
      stop_.get_token());
}

// The type that most bytes are in: the file says of itself that it is of it.
Result<QuantizationMix> mix_of(std::span<const TypedTensor> tensors, std::span<const Bytes> bytes) {
  std::map<std::string_view, Bytes> sums;
  for (std::size_t i = 0; i < tensors.size(); ++i) sums[tensors[i].type.name] += bytes[i];
  const auto most = std::ranges::max_element(sums, {}, [](const auto& sum) { return sum.second; });
  const bool is_float = most == sums.end() || most->first == "f16" || most->first == "bf16" ||
                        most->first == "f32";  // beside which libllama looks at no other types
  auto mix = find_mix(is_float ? "q8_0" : most->first);
  return mix ? mix : find_mix("q8_0");
}

Result<ChosenTypes> Search::choose(const CandidateModel& candidates,
                                   std::span<const double> divergences) const {
  const auto losses = losses_of(candidates, divergences);
  const auto chosen = choose_types(losses, *command_.target_size - candidates.fixed_bytes);
  if (!chosen) return fail(ErrorCode::kInternal, "[quantize] types that fit: none any more");
  ChosenTypes made;
  std::vector<TypedTensor> tensors;
  std::vector<Bytes> bytes;
  for (std::size_t i = 0; i < chosen->size(); ++i) {
    const TypeCandidate& candidate = candidates.tensors[i].types[(*chosen)[i]];
    tensors.push_back({std::string(candidates.tensors[i].tensor->name), candidate.type});
    bytes.push_back(candidate.bytes);
    made.predicted_kl += losses[i][(*chosen)[i]].loss;
  }
  made.recipe = overrides_for(tensors);
  made.trials = candidates.groups;
  GOGRID_ASSIGN_OR_RETURN(made.mix, mix_of(tensors, bytes));
  return made;
}

Result<ChosenTypes> Search::run() {
  GOGRID_ASSIGN_OR_RETURN(CandidateModel candidates,
                          type_candidates(model_, options_, kMostTrials));
  GOGRID_RETURN_IF_ERROR(check_target(*command_.target_size, candidates, model_));
  GOGRID_ASSIGN_OR_RETURN(const TextTokens text, tokens_of_text(command_.text, source_.path));
  GOGRID_RETURN_IF_ERROR(count_chunks(text.tokens.size(), kContext, command_.chunks));
  drop_tiny_types(candidates, *command_.target_size);
  signals_.on_first([this] { stop_.request_stop(); });
  GOGRID_RETURN_IF_ERROR(measure_errors_of(candidates));
  GOGRID_ASSIGN_OR_RETURN(const auto divergences, measure_trials(candidates, text));
  return choose(candidates, divergences);
}

}  // namespace

Result<ChosenTypes> choose_for_size(const QuantizeCommand& command, const QuantizeOptions& options,
                                    const ModelSource& source, const GgufFile& model,
                                    const Workspace& workspace, LongJob& job,
                                    StopSignals& signals) {
  Search search(command, options, source, model, workspace, job, signals);
  auto chosen = search.run();
  signals.forget();  // it looked at the search
  if (!chosen && chosen.error().code == ErrorCode::kCancelled)
    return fail(ErrorCode::kCancelled, "stopped: nothing was written");
  return chosen;
}

}  // namespace gogrid
