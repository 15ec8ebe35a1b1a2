#include <unistd.h>

#include <cstdio>
#include <future>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/plan_json.h"
#include "app/plan_loss.h"
#include "app/prepare.h"
#include "app/terminal.h"
#include "base/files.h"
#include "base/ids.h"
#include "obs/log.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;
constexpr Bytes kMaxPromptFile = 64 * kMiB;

// Writes text as it comes (unless `quiet`) and keeps what a JSON answer needs.
class RunSink final : public ResponseSink {
 public:
  explicit RunSink(bool quiet) : quiet_(quiet) {}
  SinkState on_delta(Delta delta) override {
    text_ += delta.text;
    for (const TokenEvent& event : delta.tokens) tokens_.push_back(event.chosen.token);
    if (quiet_) return SinkState::kMore;
    std::fwrite(delta.text.data(), 1, delta.text.size(), stdout);
    // A closed pipe (head, less) ends the work quietly.
    return std::fflush(stdout) == 0 ? SinkState::kMore : SinkState::kGone;
  }
  void on_finish(const Finish& finish) override { ended_.set_value(finish); }
  void on_error(const Error& error, const Usage&) override {
    ended_.set_value(std::unexpected(error));
  }
  SinkState state() const override { return SinkState::kMore; }

  Result<Finish> wait() { return ended_.get_future().get(); }
  const std::string& text() const { return text_; }
  const std::vector<Token>& tokens() const { return tokens_; }

 private:
  const bool quiet_;
  std::string text_;
  std::vector<Token> tokens_;
  std::promise<Result<Finish>> ended_;
};

Result<std::string> read_prompt(const RunCommand& command) {
  if (command.prompt_file.empty()) {
    if (command.prompt.empty())
      return fail(ErrorCode::kInvalidArgument, "a prompt is expected: -p TEXT or -f FILE");
    return command.prompt;
  }
  if (command.prompt_file != "-") return read_named(command.prompt_file, kMaxPromptFile);
  std::string text;
  char buffer[65536];
  for (ssize_t n = 0; (n = ::read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) {
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kMaxPromptFile)
      return fail(ErrorCode::kTooLarge, "[run] standard input: at most 64 MiB");
  }
  return text;
}

double seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

Json json_of(const RunSink& sink, const Finish& finish, const Plan& plan) {
  const double decode = seconds(finish.decode);
  return {{"text", sink.text()},
          {"tokens", sink.tokens()},
          {"prompt_tokens", finish.usage.prompt_tokens},
          {"completion_tokens", finish.usage.completion_tokens},
          {"finish_reason", finish.reason == FinishReason::kStop ? "stop" : "length"},
          {"stages", json_of_stages(plan)},
          {"timings",
           {{"queued_s", seconds(finish.queued)},
            {"prefill_s", seconds(finish.prefill)},
            {"decode_s", decode},
            {"decode_tokens_per_s", decode > 0 && finish.usage.completion_tokens > 1
                                        ? (finish.usage.completion_tokens - 1) / decode
                                        : 0.0}}}};
}

Result<std::vector<Token>> tokens_of(const TextEngine& engine, const std::string& prompt,
                                     bool raw) {
  if (raw) return engine.prepare_text(prompt);
  if (engine.profile().chat_template.empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        engine.plan().model + " has no chat template: add --raw to continue the text as it is");
  }
  return engine.prepare_chat({{"user", prompt}});
}

}  // namespace

Status run_command(const RunCommand& command, const CommonOptions& common) {
  const SteadyClock clock;
  GOGRID_ASSIGN_OR_RETURN(const std::string prompt, read_prompt(command));
  GOGRID_RETURN_IF_ERROR(validate(command.sampling));
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  GOGRID_ASSIGN_OR_RETURN(const DeviceRegistry registry,
                          DeviceRegistry::detect(command.placement.devices, clock));
  const auto factory = make_llama_stage_factory();
  PlacementOptions placement = command.placement;
  placement.parallel = placement.parallel.value_or(1);
  GOGRID_ASSIGN_OR_RETURN(const PreparedModel prepared,
                          prepare_model(workspace, registry, *factory, placement, command.model));
  if (const std::string notice = smaller_stages_notice(prepared.plan); !notice.empty())
    complain(notice);
  std::unique_ptr<TextEngine> engine;
  {
    ProgressLine line("loading " + prepared.source.name);
    GOGRID_ASSIGN_OR_RETURN(
        engine, TextEngine::load(engine_options(workspace, prepared, placement, nullptr), *factory,
                                 clock, [&](double share) { line.show(share); }, {}));
  }
  const auto sink = std::make_shared<RunSink>(common.json);
  Submission submission{.request = {}, .sink = sink};
  GenerationRequest& request = submission.request;
  request.id = make_request_id();
  GOGRID_ASSIGN_OR_RETURN(request.prompt, tokens_of(*engine, prompt, command.raw));
  request.sampling = command.sampling;
  request.sampling.seed = command.seed ? *command.seed : std::stoull(random_hex(7), nullptr, 16);
  request.max_tokens =
      std::min(command.max_tokens,
               static_cast<std::uint32_t>(engine->plan().context - request.prompt.size()));
  if (auto accepted = engine->generate(std::move(submission)); !accepted) {
    return std::unexpected(std::move(accepted.error().error));
  }
  GOGRID_ASSIGN_OR_RETURN(const Finish finish, sink->wait());
  if (common.json) {
    print_json(json_of(*sink, finish, engine->plan()));
  } else {
    std::printf("\n");
  }
  return {};
}

}  // namespace gogrid
