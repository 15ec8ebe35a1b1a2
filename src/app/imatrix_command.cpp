#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "app/commands.h"
#include "app/json_output.h"
#include "app/long_job.h"
#include "app/one_device.h"
#include "app/prepare.h"
#include "app/stop_signals.h"
#include "app/terminal.h"
#include "app/text_tokens.h"
#include "engine/importance_measurement.h"
#include "model/gguf_file.h"
#include "stage/llama_stage.h"

namespace gogrid {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr Duration kSaveEvery = std::chrono::seconds(30);

// What an earlier run left there, or an empty one. It must be of the same model, text and chunks.
Result<ImportanceMatrix> begun(const fs::path& file, const ImportanceMatrix& wanted) {
  std::error_code error;
  if (!fs::exists(file, error)) return wanted;
  GOGRID_ASSIGN_OR_RETURN(ImportanceMatrix found, read_importance_matrix(file));
  const auto refuse = [&](const std::string& what) {
    return fail(ErrorCode::kInvalidArgument,
                "[imatrix] " + file.string() + ": expected the matrix of this " + what +
                    ", to go on with it: it is of another; choose another file (-o)",
                "output");
  };
  if (found.model_digest != wanted.model_digest) return refuse("model");
  if (found.text_digest != wanted.text_digest) return refuse("text");
  if (found.chunk_tokens != wanted.chunk_tokens) return refuse("--context");
  return found;
}

// Hours of work end with a file: that it can be made is known before.
Status check_folder(const fs::path& file) {
  const fs::path folder = file.has_parent_path() ? file.parent_path() : ".";
  std::error_code error;
  if (fs::is_directory(folder, error) && ::access(folder.c_str(), W_OK) == 0) return {};
  return fail(ErrorCode::kInvalidArgument,
              "-o: expected a folder that can be written into: " + folder.string() +
                  (fs::exists(folder, error) ? " cannot" : " is not there"),
              "output");
}

// The matrix on the disk, and when it was last the one in memory.
class Saver {
 public:
  Saver(fs::path file, ImportanceMatrix matrix, const ImportanceCollector& collector,
        const Clock& clock)
      : file_(std::move(file)),
        matrix_(std::move(matrix)),
        collector_(collector),
        clock_(clock),
        saved_(clock.now()) {}

  const ImportanceMatrix& matrix() const { return matrix_; }
  const Status& status() const { return status_; }

  // After `chunks` are in the collector; `now`: whether or not it is time. False: it cannot be
  // kept, see status().
  bool see(std::uint32_t chunks, bool now) {
    if (chunks == matrix_.chunks || (!now && clock_.now() - saved_ < kSaveEvery)) return true;
    matrix_.chunks = chunks;
    matrix_.entries = collector_.entries();
    status_ = write_importance_matrix(file_, matrix_);
    saved_ = clock_.now();
    return status_.has_value();
  }

 private:
  const fs::path file_;
  ImportanceMatrix matrix_;
  const ImportanceCollector& collector_;
  const Clock& clock_;
  TimePoint saved_;
  Status status_;
};

// `had`: how many chunks were asked for, of a file that has them already.
void print(const ImportanceMatrix& matrix, const fs::path& file, const std::string& model,
           std::optional<std::uint32_t> had, bool json) {
  if (json) {
    print_json(Json{{"model", model},
                    {"path", file.string()},
                    {"weights", matrix.entries.size()},
                    {"chunks", matrix.chunks},
                    {"context", matrix.chunk_tokens},
                    {"written", !had}});
    return;
  }
  if (had) {
    std::printf("%s has %u chunks of %u tokens already, %u were asked for: nothing was written\n",
                file.c_str(), matrix.chunks, matrix.chunk_tokens, *had);
    return;
  }
  std::printf("wrote %s: %zu weights of %s, %u chunks of %u tokens\n", file.c_str(),
              matrix.entries.size(), model.c_str(), matrix.chunks, matrix.chunk_tokens);
}

Result<ImportanceQuestion> question_of(const ImatrixCommand& command, const ModelSource& source,
                                       const TextTokens& text, const LongJob& job) {
  ImportanceQuestion question;
  GOGRID_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::open(source.path));
  GOGRID_ASSIGN_OR_RETURN(ModelProfile profile, read_profile(file));
  question.model = {source.name, source.path, std::move(profile)};
  GOGRID_ASSIGN_OR_RETURN(question.device, one_device(command.devices, job));
  question.tokens = text.tokens;
  question.begin_token = text.begin_token;
  question.context = command.context;
  question.max_chunks = command.chunks;
  return question;
}

}  // namespace

Status imatrix_command(const ImatrixCommand& command, const CommonOptions& common) {
  GOGRID_ASSIGN_OR_RETURN(const Workspace workspace, Workspace::open(common.data_dir));
  StopSignals signals;
  GOGRID_ASSIGN_OR_RETURN(
      const auto job,
      LongJob::begin(workspace, command.policy, "the importance matrix of " + command.model));
  if (!command.output.empty()) GOGRID_RETURN_IF_ERROR(check_folder(command.output));
  ModelSource source;
  {
    ProgressLine line("reading " + command.model);
    GOGRID_ASSIGN_OR_RETURN(source, workspace.find(command.model, line.bytes()));
  }
  GOGRID_ASSIGN_OR_RETURN(const TextTokens text, tokens_of_text(command.text, source.path));
  const fs::path file =
      command.output.empty() ? fs::path(source.name + ".imatrix.gguf") : command.output;
  GOGRID_RETURN_IF_ERROR(check_folder(file));
  GOGRID_ASSIGN_OR_RETURN(ImportanceMatrix matrix, begun(file, {.entries = {},
                                                                .datasets = {command.text.string()},
                                                                .chunks = 0,
                                                                .chunk_tokens = command.context,
                                                                .model_digest = source.digest,
                                                                .text_digest = text.digest}));
  GOGRID_ASSIGN_OR_RETURN(ImportanceQuestion question, question_of(command, source, text, *job));
  question.first_chunk = matrix.chunks;
  GOGRID_ASSIGN_OR_RETURN(
      const std::uint32_t wanted,
      count_chunks(question.tokens.size(), question.context, question.max_chunks));
  if (matrix.chunks >= wanted) {
    print(matrix, file, source.name, wanted, common.json);
    return {};
  }
  ImportanceCollector collector(matrix);
  Saver saver(file, std::move(matrix), collector, job->clock());

  std::stop_source stop;
  signals.on_first([&stop] { stop.request_stop(); });
  const auto factory = make_llama_stage_factory();
  Status done;
  {
    ProgressLine line("importance matrix of " + source.name);
    const auto progress = [&](std::uint32_t chunk, std::uint32_t chunks) {
      line.show(static_cast<double>(chunk) / chunks);
      // A rest or a pause may end with the process: what is done is kept before it.
      const bool last = chunk == chunks || stop.stop_requested() || !job->runs();
      if (!saver.see(chunk, last)) return false;
      if (chunk == chunks) return true;
      const bool goes_on = chunk == question.first_chunk ? job->start(stop.get_token())
                                                         : job->rest(stop.get_token());
      if (!goes_on) saver.see(chunk, true);
      return goes_on;
    };
    done = measure_importance(question, *factory, process_wide_ledger(), collector, progress,
                              stop.get_token());
  }
  signals.forget();
  GOGRID_RETURN_IF_ERROR(saver.status());
  if (!done && done.error().code == ErrorCode::kCancelled) {
    const std::uint32_t chunks = saver.matrix().chunks;
    return fail(ErrorCode::kCancelled, chunks == 0 ? "stopped before the first chunk was done"
                                                   : "stopped after " + std::to_string(chunks) +
                                                         " chunks, which are in " + file.string() +
                                                         ": the same command goes on");
  }
  GOGRID_RETURN_IF_ERROR(done);
  print(saver.matrix(), file, source.name, std::nullopt, common.json);
  return {};
}

}  // namespace gogrid
