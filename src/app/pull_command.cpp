#include "app/pull_command.h"

#include <unistd.h>

#include <cstdio>
#include <stop_token>

#include "app/long_job.h"
#include "app/remote_source.h"
#include "app/stop_signals.h"
#include "app/terminal.h"
#include "app/workspace.h"

namespace gogrid {
namespace {

// On a line of its own, in place of the progress.
void tell(std::string_view text) {
  if (isatty(STDERR_FILENO) == 1) std::fputs("\r\x1b[K", stderr);
  complain(text);
}

// The digest that the person gave and the one that the hub names must be one.
Status expect_digest(RemoteFile& remote, const std::string& wanted) {
  if (wanted.empty()) return {};
  if (!remote.parts.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "--sha256: expected a model in one file: " + remote.source + " is in " +
                    std::to_string(remote.parts.size()) +
                    ", each of which is checked by the digest that the hub names",
                "--sha256");
  }
  if (!remote.sha256.empty() && remote.sha256 != wanted) {
    return fail(ErrorCode::kCorrupt, "[pull] " + remote.source + ": expected SHA-256 " + wanted +
                                         ": there it is " + remote.sha256);
  }
  remote.sha256 = wanted;
  return {};
}

}  // namespace

Result<PullReport> pull_command(const Workspace& workspace, ModelLibrary& library,
                                const ModelsCommand& command) {
  std::stop_source stop;
  StopSignals signals;
  GOGRID_ASSIGN_OR_RETURN(
      const auto job, LongJob::begin(workspace, command.policy, "pulling " + command.pull.source));
  signals.on_first([&stop] { stop.request_stop(); });
  const SteadyClock clock;
  PullHooks hooks{.keep_going = [&job] { return job->runs(); },
                  .why_paused = [&job] { return job->why_paused(); },
                  .stop = stop.get_token(),
                  .progress = {},
                  .note = tell};
  GOGRID_ASSIGN_OR_RETURN(RemoteSource remote, resolve_remote(command.pull, hooks, clock));
  GOGRID_RETURN_IF_ERROR(expect_digest(remote.file, command.sha256));
  const std::string name = command.name.empty() ? name_from_file(remote.file.name) : command.name;
  ProgressLine line("pulling " + name + ", " + format_bytes(remote.file.size));
  hooks.progress = [&](Bytes done, Bytes total) {
    const double share = total == 0 ? 1.0 : static_cast<double>(done) / static_cast<double>(total);
    line.show(share, job->runs() ? "" : ", paused");
    return !stop.stop_requested();
  };
  return pull_model(library, *remote.client, remote.file, name, remote.credential, remote.rules,
                    hooks, clock);
}

}  // namespace gogrid
