#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/long_job.h"
#include "app/loss_json.h"
#include "app/one_device.h"
#include "app/prepare.h"
#include "app/stop_signals.h"
#include "app/terminal.h"
#include "app/text_tokens.h"
#include "engine/loss_measurement.h"
#include "model/gguf_file.h"
#include "obs/log.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

using Json = nlohmann::ordered_json;

Result<LossSide> side_of(const ModelSource& source) {
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(source.path));
  GOGRID_ASSIGN_OR_RETURN(ModelProfile profile, read_profile(file));
  return LossSide{source.name, source.path, std::move(profile)};
}

Result<ModelSource> find(const Workspace& workspace, const std::string& model) {
  ProgressLine line("reading " + model);
  return workspace.find(model, line.bytes());
}

// Kept where the model is one of the library's; false where it is a file.
Result<bool> keep(const Workspace& workspace, const std::string& name, const ModelSource& source,
                  const ModelLoss& loss) {
  GOGRID_ASSIGN_OR_RETURN(ModelLibrary library, workspace.library());
  const auto entry = library.find(name);
  if (!entry || entry->path != source.path) return false;
  if (!is_finite(loss)) {
    complain("not kept: a perplexity that is infinite is none; is " + name + " a model of text?");
    return false;
  }
  GOGRID_RETURN_IF_ERROR(library.record_loss(name, source.digest, loss));
  return true;
}

Status same_tokens(const TextTokens& tokens, const TextTokens& others, const std::string& other) {
  if (tokens.tokens == others.tokens && tokens.begin_token == others.begin_token) return {};
  return fail(ErrorCode::kInvalidArgument,
              "[loss] models of one vocabulary: " + other + " makes other tokens of the text");
}

}  // namespace

Status loss_command(const LossCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  StopSignals signals;
  GOGRID_ASSIGN_OR_RETURN(const auto job,
                          LongJob::begin(workspace, command.policy, "measuring " + command.other));
  GOGRID_ASSIGN_OR_RETURN(const ModelSource base, find(workspace, command.base));
  GOGRID_ASSIGN_OR_RETURN(const ModelSource other, find(workspace, command.other));
  LossQuestion question;
  GOGRID_ASSIGN_OR_RETURN(question.base, side_of(base));
  GOGRID_ASSIGN_OR_RETURN(question.other, side_of(other));
  GOGRID_ASSIGN_OR_RETURN(question.device, one_device(command.devices, *job));
  GOGRID_ASSIGN_OR_RETURN(const TextTokens text, tokens_of_text(command.text, base.path));
  GOGRID_ASSIGN_OR_RETURN(const TextTokens others, tokens_of_text(command.text, other.path));
  GOGRID_RETURN_IF_ERROR(same_tokens(text, others, other.name));
  question.tokens = text.tokens;
  question.begin_token = text.begin_token;
  question.context = command.context;
  question.max_chunks = command.chunks;

  std::stop_source stop;
  signals.on_first([&stop] { stop.request_stop(); });
  const auto factory = make_llama_stage_factory();
  ModelLoss loss;
  {
    ProgressLine line("measuring " + other.name);
    const auto progress = [&](std::uint32_t done, std::uint32_t chunks) {
      line.show(static_cast<double>(done) / chunks);
      return job->rest(stop.get_token());
    };
    GOGRID_ASSIGN_OR_RETURN(
        loss, measure_loss(question, *factory, process_wide_ledger(), progress, stop.get_token()));
  }
  signals.forget();
  loss.base_digest = base.digest;
  loss.text_digest = text.digest;
  GOGRID_ASSIGN_OR_RETURN(const bool kept, keep(workspace, command.other, other, loss));
  if (common.json) {
    Json answer{{"model", other.name}, {"kept", kept}};
    answer.update(json_of(loss));
    print_json(answer);
    return {};
  }
  std::printf("%s %s (%llu positions of %s)\n", other.name.c_str(), text_of(loss).c_str(),
              static_cast<unsigned long long>(loss.positions),
              command.text.filename().string().c_str());
  return {};
}

}  // namespace gogrid
