#include "engine/text_engine.h"

#include <algorithm>
#include <future>
#include <utility>

#include "base/heap.h"
#include "base/sha256.h"
#include "engine/chat_prompt.h"
#include "model/gguf_file.h"
#include "model/gguf_slicer.h"
#include "obs/log.h"
#include "resource/run_delay.h"

namespace gogrid {
namespace {

// Slicing takes this share of the progress of a load, if there is any.
constexpr double kSlicingShare = 0.3;

// Keeps the end of a generation for whoever waits for it.
class WaitingSink final : public ResponseSink {
 public:
  SinkState on_delta(Delta) override { return SinkState::kMore; }
  void on_finish(const Finish&) override { ended_.set_value({}); }
  void on_error(const Error& error, const Usage&) override {
    ended_.set_value(std::unexpected(error));
  }
  SinkState state() const override { return SinkState::kMore; }
  Status wait() { return ended_.get_future().get(); }

 private:
  std::promise<Status> ended_;
};

Result<Device> device_of(const TextEngineOptions& options, const std::string& id) {
  const auto found = std::ranges::find(options.devices, id, &Device::id);
  if (found != options.devices.end()) return *found;
  return fail(ErrorCode::kNotFound, "[text_engine] the plan names device '" + id + "': not here");
}

// Whether the plan's stages hold each layer once, in order, cut where the model may be cut.
Status check_plan(const Plan& plan, const ModelProfile& profile) {
  std::uint32_t next = 0;
  for (const PlannedStage& stage : plan.stages) {
    GOGRID_RETURN_IF_ERROR(check_cut(profile, stage.layers));
    if (stage.layers.first != next) {
      return fail(ErrorCode::kInvalidArgument,
                  "[text_engine] a stage from layer " + std::to_string(next) +
                      ": the plan goes on with layers " + to_string(stage.layers));
    }
    next = stage.layers.last;
  }
  if (next == profile.n_layers) return {};
  return fail(ErrorCode::kInvalidArgument,
              "[text_engine] stages for all " + std::to_string(profile.n_layers) +
                  " layers: the plan ends at layer " + std::to_string(next));
}

StageSpec common_spec(const TextEngineOptions& options, const ModelProfile& profile,
                      const Tokenizer& tokenizer) {
  StageSpec spec;
  spec.model = options.model;
  spec.path = options.path;
  spec.n_layers = profile.n_layers;
  spec.context = options.plan.context;
  spec.parallel = options.plan.parallel;
  spec.kv_cells = options.kv_cells;
  spec.max_step_rows = options.max_step_rows;
  spec.deterministic = options.deterministic;
  spec.step_deadline = options.step_deadline;
  spec.embedding_scale = profile.embedding_scale;
  spec.end_tokens = tokenizer.end_tokens();
  return spec;
}

// One spec a stage; slices are made (or found) when there are several, or where weights are smaller
// than the model's own.
Result<std::vector<StageSpec>> make_specs(const TextEngineOptions& options, const GgufFile& file,
                                          const ModelProfile& profile, const Tokenizer& tokenizer,
                                          const LoadProgress& progress, std::stop_token stop) {
  const std::size_t count = options.plan.stages.size();
  SliceCache slices(options.slice_folder, options.slice_capacity);
  std::string digest = options.digest;
  std::vector<StageSpec> specs;
  for (const PlannedStage& stage : options.plan.stages) {
    StageSpec spec = common_spec(options, profile, tokenizer);
    spec.layers = stage.layers;
    GOGRID_ASSIGN_OR_RETURN(spec.device, device_of(options, stage.device));
    if (count > 1 || stage.type) {
      const auto report = [&](Bytes done, Bytes total) {
        const double share =
            total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
        progress(kSlicingShare * (static_cast<double>(specs.size()) + share) /
                 static_cast<double>(count));
        return wait_to_run(options.governor, stop);
      };
      if (digest.empty()) {
        GOGRID_ASSIGN_OR_RETURN(digest, sha256_file(options.path, [&](Bytes, Bytes) {
                                  return wait_to_run(options.governor, stop);
                                }));
      }
      GOGRID_ASSIGN_OR_RETURN(spec.slice,
                              slices.get(file, digest, stage.layers, report, stage.type));
      spec.path = spec.slice->path();
      if (spec.is_first()) spec.embedding_source = options.path;
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

// The adapter's part of each stage. Of a whole model, too: libllama ends the process for keys of
// other types than it expects, and knows nothing of adapters in several files.
Status add_adapters(const TextEngineOptions& options, const GgufFile& base,
                    const ModelProfile& profile, std::vector<StageSpec>& specs) {
  if (!options.adapter) return {};
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(options.adapter->path));
  GOGRID_RETURN_IF_ERROR(read_adapter(file, base, profile));  // it may have changed since planning
  std::error_code error;
  std::filesystem::create_directories(options.slice_folder, error);
  if (error) return file_error("create", options.slice_folder, error.value());
  for (StageSpec& spec : specs) {
    GOGRID_ASSIGN_OR_RETURN(
        auto part, write_adapter_slice(file, spec.layers, spec.is_last(), options.slice_folder));
    if (!part) continue;
    const auto kept = std::make_shared<const AtomicFile>(*std::move(part));
    spec.adapter = {.path = kept->path(), .scale = options.adapter->scale, .temporary = kept};
  }
  return {};
}

// One for each stage of the plan; none where nobody counts.
Result<std::vector<HeldMemory>> lease_plan(const TextEngineOptions& options) {
  if (options.ledger == nullptr) return {};
  std::vector<StageNeed> needs;
  for (const PlannedStage& stage : options.plan.stages) {
    needs.push_back({stage.device, stage.memory});
  }
  return lease_stages(*options.ledger, options.model, needs);
}

// A pause may have been long: what was leased before it may be over a cap that shrank since.
Status check_caps(const TextEngineOptions& options) {
  if (options.ledger == nullptr) return {};
  for (const PlannedStage& stage : options.plan.stages) {
    if (const Bytes excess = options.ledger->excess(stage.device); excess > 0) {
      return fail(ErrorCode::kExhausted, "[text_engine] " + stage.device +
                                             " within its cap before anything is loaded: it is " +
                                             format_bytes(excess) + " over");
    }
  }
  return {};
}

Status settle_plan(std::span<const HeldMemory> leases, const Pipeline& pipeline) {
  std::vector<StageMemory> taken;
  for (const StageStatus& stage : pipeline.stages()) taken.push_back(stage.memory);
  return settle(leases, taken);
}

BatcherOptions batcher_options(const TextEngineOptions& options, const ModelProfile& profile) {
  BatcherOptions result;
  result.context = options.plan.context;
  result.parallel = options.plan.parallel;
  result.groups = options.plan.groups;
  result.kv_cells = options.kv_cells;
  result.max_step_rows = options.max_step_rows;
  result.prefill_chunk = options.prefill_chunk;
  result.queue_capacity = options.queue_capacity;
  result.prefix_reuse = options.prefix_reuse;
  result.can_truncate = !profile.recurrent;
  if (options.policies != nullptr) {
    result.max_batch = [policies = options.policies] { return policies->current()->max_batch; };
  }
  result.governor = options.governor;
  result.metrics = options.metrics;
  result.model = options.model;
  return result;
}

PipelineOptions pipeline_options(const TextEngineOptions& options) {
  PipelineOptions result;
  result.steps_in_flight = options.plan.groups;
  result.step_deadline = options.step_deadline;
  result.transfer_deadline = options.transfer_deadline;
  result.duty = options.duty;
  result.run_delay = [] { return run_delay(); };
  return result;
}

}  // namespace

struct TextEngine::State {
  TextEngineOptions options;
  ModelProfile profile;
  Tokenizer tokenizer;
  Result<ChatTemplate> chat_template;
  std::vector<HeldMemory> leases;
  std::unique_ptr<Batcher> batcher;  // last: uses all of the above

  // One token must be left to answer.
  std::size_t max_prompt() const { return std::max(options.plan.context, 1U) - 1; }

  // What the tokenizer made of a request's `param`, or the request's fault.
  Result<std::vector<Token>> checked(Result<std::vector<Token>> tokens, const char* param) const {
    if (!tokens && tokens.error().code == ErrorCode::kTooLarge) {
      return fail(ErrorCode::kInvalidArgument,
                  "[text_engine] the context of " + options.model + " is " +
                      std::to_string(options.plan.context) +
                      " tokens, and one must be left to answer: " + tokens.error().message,
                  param);
    }
    if (tokens && tokens->empty()) {
      return fail(ErrorCode::kInvalidArgument, "[text_engine] at least one token expected: none",
                  param);
    }
    if (!tokens && tokens.error().param.empty()) tokens.error().param = param;
    return tokens;
  }
};

TextEngine::TextEngine(std::unique_ptr<State> state) : state_(std::move(state)) {}
// Others are to have what it held; whoever lets go of it last.
TextEngine::~TextEngine() {
  state_.reset();
  trim_heap();
}

Result<std::unique_ptr<TextEngine>> TextEngine::load(const TextEngineOptions& options,
                                                     StageFactory& factory, const Clock& clock,
                                                     const LoadProgress& progress,
                                                     std::stop_token stop) {
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(options.path));
  GOGRID_ASSIGN_OR_RETURN(ModelProfile profile, read_profile(file));
  GOGRID_RETURN_IF_ERROR(check_plan(options.plan, profile));
  GOGRID_ASSIGN_OR_RETURN(const std::vector<HeldMemory> leases, lease_plan(options));
  GOGRID_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::load(options.path));
  GOGRID_ASSIGN_OR_RETURN(auto specs,
                          make_specs(options, file, profile, tokenizer, progress, stop));
  GOGRID_RETURN_IF_ERROR(add_adapters(options, file, profile, specs));
  for (std::size_t i = 0; i < leases.size(); ++i) specs[i].leases = leases[i];
  auto chat_template =
      profile.chat_template.empty()
          ? Result<ChatTemplate>(fail(
                ErrorCode::kInvalidArgument,
                "[text_engine] " + options.model + " has no chat template: use /v1/completions",
                "messages"))
          : ChatTemplate::parse(profile.chat_template, tokenizer.bos_text(), tokenizer.eos_text());
  auto state = std::make_unique<State>(State{options, std::move(profile), std::move(tokenizer),
                                             std::move(chat_template), leases, nullptr});
  state->batcher =
      std::make_unique<Batcher>(batcher_options(options, state->profile), state->tokenizer, clock);
  const bool sliced =
      std::ranges::any_of(specs, [](const auto& spec) { return spec.slice != nullptr; });
  const double begin = sliced ? kSlicingShare : 0.0;
  if (!wait_to_run(options.governor, stop)) {
    return fail(ErrorCode::kCancelled, "[text_engine] told to stop while it waited to load");
  }
  GOGRID_RETURN_IF_ERROR(check_caps(options));
  GOGRID_ASSIGN_OR_RETURN(
      auto pipeline, Pipeline::build(
                         std::move(specs), factory, pipeline_options(options), clock,
                         state->batcher->on_step_done(),
                         [&](double share) { progress(begin + (1.0 - begin) * share); }, stop));
  GOGRID_RETURN_IF_ERROR(settle_plan(leases, *pipeline));
  state->batcher->start(std::move(pipeline));
  std::unique_ptr<TextEngine> engine(new TextEngine(std::move(state)));
  GOGRID_RETURN_IF_ERROR(engine->make_one_token(std::move(stop)));
  return engine;
}

Status TextEngine::make_one_token(std::stop_token stop) {
  auto sink = std::make_shared<WaitingSink>();
  Submission submission{.request = {}, .sink = sink};
  submission.request.id = "self-test";
  submission.request.prompt = {0};
  submission.request.sampling.temperature = 0.0F;
  submission.request.max_tokens = 1;
  submission.request.cancel = std::move(stop);
  if (auto accepted = generate(std::move(submission)); !accepted) {
    return std::unexpected(std::move(accepted).error().error);
  }
  return sink->wait();
}

const ModelProfile& TextEngine::profile() const { return state_->profile; }
const Plan& TextEngine::plan() const { return state_->options.plan; }
const Tokenizer& TextEngine::tokenizer() const { return state_->tokenizer; }

Result<std::vector<Token>> TextEngine::prepare_chat(
    const std::vector<ChatMessage>& messages) const {
  if (!state_->chat_template) return std::unexpected(state_->chat_template.error());
  return state_->checked(
      tokenize_chat(*state_->chat_template, state_->tokenizer, messages, state_->max_prompt()),
      "messages");
}

Result<std::vector<Token>> TextEngine::prepare_text(std::string_view text) const {
  return state_->checked(state_->tokenizer.tokenize(text, true, true, state_->max_prompt()),
                         "prompt");
}

std::expected<void, Refusal> TextEngine::generate(Submission submission) {
  return state_->batcher->submit(std::move(submission));
}
void TextEngine::drain(TimePoint deadline) { state_->batcher->drain(deadline); }
BatcherStatus TextEngine::status() const { return state_->batcher->status(); }
std::vector<StageStatus> TextEngine::stages() const { return state_->batcher->stages(); }
std::optional<Error> TextEngine::failure() const { return state_->batcher->failure(); }

}  // namespace gogrid
