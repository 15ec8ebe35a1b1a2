#include <algorithm>
#include <cstdio>
#include <future>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/plan_json.h"
#include "app/prepare.h"
#include "app/terminal.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

class BenchSink final : public ResponseSink {
 public:
  SinkState on_delta(Delta) override { return SinkState::kMore; }
  void on_finish(const Finish& finish) override { ended_.set_value(finish); }
  void on_error(const Error& error, const Usage&) override {
    ended_.set_value(std::unexpected(error));
  }
  SinkState state() const override { return SinkState::kMore; }
  Result<Finish> wait() { return ended_.get_future().get(); }

 private:
  std::promise<Result<Finish>> ended_;
};

struct Measured {
  double prefill_tokens_per_s = 0.0;
  double decode_tokens_per_s = 0.0;
};

// `count` sequences at once; each has a prompt of its own, so that no prefix is shared.
Result<std::vector<Finish>> run_sequences(TextEngine& engine, std::uint32_t count,
                                          std::uint32_t prompt_tokens, std::uint32_t max_tokens) {
  std::vector<std::shared_ptr<BenchSink>> sinks;
  const std::uint32_t vocabulary = engine.tokenizer().size();
  for (std::uint32_t i = 0; i < count; ++i) {
    Submission submission{.request = {}, .sink = sinks.emplace_back(std::make_shared<BenchSink>())};
    GenerationRequest& request = submission.request;
    request.id = "bench-" + std::to_string(i);
    for (std::uint32_t k = 0; k < prompt_tokens; ++k) {
      request.prompt.push_back(static_cast<Token>(
          (std::uint64_t{k} * 7919 + std::uint64_t{i} * 104'729 + 11) % vocabulary));
    }
    request.sampling.temperature = 0.0F;
    request.sampling.ban_end_of_text = true;
    request.max_tokens = max_tokens;
    if (auto accepted = engine.generate(std::move(submission)); !accepted) {
      return std::unexpected(std::move(accepted.error().error));
    }
  }
  std::vector<Finish> finishes;
  for (const auto& sink : sinks) {
    GOGRID_ASSIGN_OR_RETURN(const Finish finish, sink->wait());
    finishes.push_back(finish);
  }
  return finishes;
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Result<Measured> measure(TextEngine& engine, const BenchCommand& command) {
  const std::uint32_t parallel = engine.plan().parallel;
  Measured measured;
  GOGRID_ASSIGN_OR_RETURN(const auto one, run_sequences(engine, 1, command.prompt_tokens, 1));
  measured.prefill_tokens_per_s =
      command.prompt_tokens / std::max(1e-9, seconds(one.front().prefill));
  // Short prompts: the sequences then decode together nearly all the time.
  GOGRID_ASSIGN_OR_RETURN(const auto all, run_sequences(engine, parallel, 4, command.max_tokens));
  double longest = 0.0;
  double tokens = 0.0;
  for (const Finish& finish : all) {
    longest = std::max(longest, seconds(finish.decode));
    tokens += finish.usage.completion_tokens - 1;
  }
  measured.decode_tokens_per_s = tokens / std::max(1e-9, longest);
  return measured;
}

}  // namespace

Status bench_command(const BenchCommand& command, const CommonOptions& common) {
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(command.placement.devices, clock));
  const auto factory = make_llama_stage_factory();
  GOGRID_ASSIGN_OR_RETURN(
      const PreparedModel prepared,
      prepare_model(workspace, registry, *factory, command.placement, command.model));
  const std::uint32_t longest = std::max(command.prompt_tokens, command.max_tokens + 4);
  if (longest >= prepared.plan.context) {
    return fail(ErrorCode::kInvalidArgument,
                "[bench] the context is " + std::to_string(prepared.plan.context) +
                    " tokens: " + std::to_string(longest) + " were asked for (--context)");
  }
  ProgressLine line("loading " + prepared.source.name);
  GOGRID_ASSIGN_OR_RETURN(
      const auto engine,
      TextEngine::load(engine_options(workspace, prepared, command.placement, nullptr), *factory,
                       clock, [&](double share) { line.show(share); }, {}));
  GOGRID_ASSIGN_OR_RETURN(const Measured measured, measure(*engine, command));
  const Prediction& predicted = prepared.plan.predicted;
  if (common.json) {
    Json json = json_of(prepared.plan);
    json["measured"] = {{"decode_tokens_per_s", measured.decode_tokens_per_s},
                        {"prefill_tokens_per_s", measured.prefill_tokens_per_s}};
    print_json(json);
    return {};
  }
  print_plan(prepared.plan);
  std::printf(
      "  measured:  %.1f tokens/s decode (%+.0f %% of the prediction), %.0f tokens/s prefill\n",
      measured.decode_tokens_per_s,
      100.0 * (measured.decode_tokens_per_s / predicted.decode_tokens_per_s - 1.0),
      measured.prefill_tokens_per_s);
  return {};
}

}  // namespace gogrid
